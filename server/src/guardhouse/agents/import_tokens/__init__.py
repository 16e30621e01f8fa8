"""Import tokens: addresses that a tool which cannot set headers may send to."""
