"""Rule packs of tenants: rules as data, checked and timed before they are taken, in versions that never change."""
