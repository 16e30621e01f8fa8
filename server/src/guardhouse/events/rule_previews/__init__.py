"""Previews of changes to an app's rules: the documents before and after, and what should be known beforehand."""
