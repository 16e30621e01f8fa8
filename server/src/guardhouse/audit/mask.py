"""Secrets never reach the audit log: members that name one and texts that look like one are masked."""

import re
from collections.abc import Mapping
from typing import Any, Final

MASK: Final = "***"
_SECRET_NAMES: Final = re.compile(
    r"(?:^|_)(?:secrets?|passwords?|tokens?|api_key|key_text|authorization|cookie|assertion|private(?:_key)?|pepper|routing_key)$",
    re.IGNORECASE,
)
_SECRET_TEXTS: Final = re.compile(
    r"gh_(?:live|test)_[0-9A-Za-z]{32}_[0-9A-Za-z]{8}|gh(?:l|cs)_[\w-]{16,}|whs(?:ec|k)_[A-Za-z0-9+/=_-]{16,}|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"
)


def mask(value: Any, name: str = "") -> Any:
    """Return a JSON value with everything secret in it replaced; ``name`` is the member that holds it."""
    if isinstance(value, Mapping):
        return {str(key): mask(member, str(key)) for key, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [mask(item, name) for item in value]
    if value is not None and not isinstance(value, bool) and _SECRET_NAMES.search(name):
        return MASK
    return _SECRET_TEXTS.sub(MASK, value) if isinstance(value, str) else value
