"""What agents sign with: sealed keys and spent nonces."""
