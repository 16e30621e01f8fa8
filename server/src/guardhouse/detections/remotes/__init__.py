"""Detection engines elsewhere: asked by the contract of the Go engine, behind a breaker each."""
