"""Decisions with several criteria: values, how firm they are, what is missing; integers wherever people see them."""
