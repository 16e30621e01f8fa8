"""The scripted collector and the agents of `agent/tests/app`."""

from agent.tests.app.conftest import make_agent, native_sink, sink, state_dir

__all__ = ["make_agent", "native_sink", "sink", "state_dir"]
