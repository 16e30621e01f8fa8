"""Route templates: as expressions that match paths, and made from paths that have none."""

import re
from collections.abc import Mapping
from typing import Any

_PLACE = re.compile(r"\{[^{}/]*\}")
_NUMBER = re.compile(r"\d+")
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_HEX = re.compile(r"[0-9a-fA-F]{16,}")


def path_pattern(template: str) -> re.Pattern[str]:
    """Return the expression of the paths of `/items/{id}`; `{rest:path}` takes slashes as well."""
    parts, at = [], 0
    for place in _PLACE.finditer(template):
        parts += [re.escape(template[at : place.start()]), ".*" if place[0].endswith(":path}") else "[^/]+"]
        at = place.end()
    return re.compile("".join([*parts, re.escape(template[at:])]))


def template_of(path: str, parameters: Mapping[str, Any]) -> str:
    """Return the template of a path: its parameters by name, what is left of numbers and ids by kind."""
    segments = path.split("/")
    for name, value in parameters.items():
        text = str(value)
        if "/" in text:  # a parameter that takes slashes is the rest of the path
            head, found, tail = "/".join(segments).partition(text)
            segments = f"{head}{{{name}}}{tail}".split("/") if found else segments
            continue
        # The last equal segment: what comes before a parameter is more often fixed than what comes after it.
        for place in range(len(segments) - 1, -1, -1):
            if segments[place] == text:
                segments[place] = f"{{{name}}}"
                break
    return "/".join(_generic(segment) for segment in segments)


def _generic(segment: str) -> str:
    if _NUMBER.fullmatch(segment):
        return "{n}"
    if _UUID.fullmatch(segment):
        return "{uuid}"
    return "{hex}" if _HEX.fullmatch(segment) else segment
