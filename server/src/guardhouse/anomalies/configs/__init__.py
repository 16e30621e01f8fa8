"""What a tenant's streams are judged by: profiles, versions of the configuration, overrides per type and stream."""
