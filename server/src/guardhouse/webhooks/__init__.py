"""Word that leaves the house: endpoints, channels, and the delivery of notices to them."""
