"""Process risk: rules and surprise turned into evidence, evidence into a number that explains itself."""
