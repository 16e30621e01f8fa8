"""The key of a process instance as one text, the form in which tables hold it."""

from guardhouse.analysis.risk.event import ProcessKey


def key_text(key: ProcessKey) -> str:
    """Return a process key as one text: pid, start, generation, boot id."""
    return f"{key.pid}.{key.start}.{key.generation}.{key.boot_id}"


def key_of(text: str) -> ProcessKey:
    """Return the process key behind its stored text."""
    pid, start, generation, boot_id = text.split(".", 3)
    return ProcessKey(boot_id, int(pid), int(start), int(generation))
