"""Signs of prompt injection in a text: readings of it, two linear heads, rules, a calibrated score, its reasons."""
