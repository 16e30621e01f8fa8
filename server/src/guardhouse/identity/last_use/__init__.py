"""When and from where keys were used last."""
