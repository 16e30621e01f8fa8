"""Guardhouse: guards of APIs, hosts and AI agents report in; it scores, explains, alerts, remembers."""

from importlib.metadata import version

__version__ = version("guardhouse")
