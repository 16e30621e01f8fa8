"""Addresses, routes and rates of requests, without anything of a web framework."""
