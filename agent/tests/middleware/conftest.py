"""The scripted collector and the agents of `agent/tests/app`, for middlewares that report through a real agent."""

from agent.tests.app.conftest import make_agent, sink, state_dir

__all__ = ["make_agent", "sink", "state_dir"]
