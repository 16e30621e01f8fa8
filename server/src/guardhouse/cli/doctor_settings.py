"""Doctor's look at the settings: where each value came from, and names that mean nothing."""

import difflib
import os
from collections.abc import Iterator

from pydantic import SecretStr

from guardhouse.cli.finding import Finding, good, warning
from guardhouse.settings import PREFIX, Settings

# Read by tests, the agent or the launcher, not by the server.
_FOREIGN = ("GUARDHOUSE_TEST_", "GUARDHOUSE_AGENT_", "GUARDHOUSE_REQUIRE_ALL")


def look(settings: Settings) -> Iterator[Finding]:
    """Yield one finding per setting that was given, one for the defaults, and one per unknown name."""
    names = {PREFIX + name.upper(): name for name in Settings.model_fields}
    left = 0
    for variable, name in names.items():
        value = getattr(settings, name)
        source = _source(variable, given=name in settings.model_fields_set)
        if source == "default":
            left += 1
        else:
            yield good(variable, f"{'(secret)' if isinstance(value, SecretStr) else value} ({source})")
    yield good("Other settings", f"{left} at their defaults")
    known = set(names) | {f"{name}_FILE" for name in names}
    for variable in sorted(os.environ):
        if variable.startswith(PREFIX) and variable not in known and not variable.startswith(_FOREIGN):
            nearest = difflib.get_close_matches(variable, known, n=1)
            advice = f"Did you mean {nearest[0]}?" if nearest else "Remove it; no setting has such a name."
            yield warning(variable, "is no setting and changes nothing", advice)
    if settings.single_role:
        yield warning(
            "Row-level security",
            "off: GUARDHOUSE_SINGLE_ROLE=1 leaves one wall between tenants",
            "Let the database owner create roles and unset it.",
        )


def _source(variable: str, *, given: bool) -> str:
    if variable in os.environ:
        return "environment"
    if f"{variable}_FILE" in os.environ:
        return f"file {os.environ[f'{variable}_FILE']}"
    return "data folder" if given else "default"
