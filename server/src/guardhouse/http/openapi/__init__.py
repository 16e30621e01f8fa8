"""The parts of the OpenAPI document that FastAPI does not write, or writes in a way that readers trip over."""
