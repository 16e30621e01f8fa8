"""What addresses do to an application: classes of its security events."""
