"""Conversations: every message judged by who wrote it, tool calls by where their destinations come from."""
