"""Verdicts on prompts, documents, conversations and the answers of models."""
