"""Process risk: lanes, states, scores, explanations."""
