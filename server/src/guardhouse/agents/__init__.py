"""Enrolled host agents, and the projects of in-app agents."""
