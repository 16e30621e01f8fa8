"""What was judged, kept: written behind the answers, read back one by one and in lists."""
