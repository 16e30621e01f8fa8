"""The short paths of earlier products, with their shapes, over the same endpoints."""
