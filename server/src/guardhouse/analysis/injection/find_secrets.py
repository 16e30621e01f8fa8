"""Credentials in a text: 24 detectors by shape, some with a check of what is inside.

Every expression has bounded repeats. Formats are those that the issuers document; a value that only looks random is
taken for a secret where a secret's name stands before it.
"""

import base64
import binascii
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from math import log2
from typing import Final

from guardhouse.analysis.injection.leak import Leak

LEAST_ENTROPY, LEAST_LENGTH = 3.5, 20  # bits per character, characters
_GRAVE, _SERIOUS = 4, 3

PRIVATE_KEY_HEAD: Final = r"-----BEGIN (?:[A-Z]{2,12} ){0,2}PRIVATE KEY(?: BLOCK)?-----"
PRIVATE_KEY_BODY: Final = r"[A-Za-z0-9+/=\s\\]"
PRIVATE_KEY_END: Final = (
    r"(?:-----END (?:[A-Z]{2,12} ){0,2}PRIVATE KEY(?: BLOCK)?-----|(?<=[A-Za-z0-9+/=]{16}))"
)

_SHAPES: Final[dict[str, str]] = {
    "private_key": (  # also one that breaks off
        rf"{PRIVATE_KEY_HEAD}\s{{0,4}}(?:[A-Za-z][A-Za-z\-]{{1,30}}: [^\n]{{0,100}}\n){{0,4}}"
        rf"{PRIVATE_KEY_BODY}{{0,8000}}{PRIVATE_KEY_END}"
    ),
    "aws_access_key": r"\b(?:AKIA|ASIA)[A-Z2-7]{16}\b",
    "aws_secret_key": r"(?i:aws.{0,20}secret.{0,20}[\s:=\"']{1,6})([A-Za-z0-9/+]{40})(?![A-Za-z0-9/+=])",
    "google_api_key": r"\bAIza[0-9A-Za-z_\-]{35}(?![0-9A-Za-z_\-])",
    "google_oauth_secret": r"\bGOCSPX-[0-9A-Za-z_\-]{28}(?![0-9A-Za-z_\-])",
    "azure_storage_key": r"AccountKey=([A-Za-z0-9+/]{86}==)",
    "azure_sas": r"[?&]sig=([A-Za-z0-9%+/]{40,120}(?:%3[dD]|=))",
    "github_token": r"\bgh[pousr]_[A-Za-z0-9]{36,251}\b",
    "github_fine_grained_token": r"\bgithub_pat_[A-Za-z0-9_]{60,100}\b",
    "gitlab_token": r"\bglpat-[A-Za-z0-9_\-]{20,64}(?![A-Za-z0-9_\-])",
    "slack_token": r"\bxox[abeoprs]-[A-Za-z0-9\-]{10,200}",
    "slack_webhook": r"https://hooks\.slack\.com/services/T[A-Z0-9]{6,14}/B[A-Z0-9]{6,14}/[A-Za-z0-9]{20,40}",
    "stripe_key": r"\b(?:sk|rk)_(?:live|test)_[0-9A-Za-z]{16,120}\b",
    "openai_key": r"\bsk-(?!ant-)(?:proj-|svcacct-|admin-)?[A-Za-z0-9_\-]{32,200}(?![A-Za-z0-9_\-])",
    "anthropic_key": r"\bsk-ant-[A-Za-z0-9_\-]{32,200}(?![A-Za-z0-9_\-])",
    "hugging_face_token": r"\bhf_[A-Za-z]{34}\b",
    "package_registry_token": r"\b(?:npm_[A-Za-z0-9]{36}\b|pypi-AgE[A-Za-z0-9_\-]{50,250})",
    "sendgrid_key": r"\bSG\.[A-Za-z0-9_\-]{22}\.[A-Za-z0-9_\-]{43}(?![A-Za-z0-9_\-])",
    "twilio_key": r"\bSK[0-9a-f]{32}\b",
    "telegram_bot_token": r"\b[0-9]{8,10}:AA[A-Za-z0-9_\-]{33}(?![A-Za-z0-9_\-])",
    "json_web_token": (  # also one whose signature is missing
        r"\beyJ[A-Za-z0-9_\-]{8,2000}\.eyJ[A-Za-z0-9_\-]{8,4000}(?:\.[A-Za-z0-9_\-]{16,1000})?"
    ),
    "connection_string": r"\b[a-z][a-z0-9+]{1,20}://[^\s:/@\"']{1,64}:([^\s/@\"'${}<>]{3,128})@[A-Za-z0-9.\-]{1,253}",
    "guardhouse_key": r"\bgh_(?:live|test)_[A-Za-z0-9]{32}_[A-Za-z0-9]{8}(?![A-Za-z0-9])",
    "assigned_secret": (
        r"(?i:\b[a-z0-9_\-]{0,30}(?:secret|passwd|password|token|api[_\-]?key|access[_\-]?key|private[_\-]?key|credential)"
        r"[a-z0-9_\-]{0,20}[\"']?\s{0,3}(?::=|=>|[:=])\s{0,3}[\"']?)([A-Za-z0-9+/_\-.~!@#$%^&*]{20,200})"
    ),
}
DETECTORS: Final = {name: re.compile(shape) for name, shape in _SHAPES.items()}
_LESS_GRAVE: Final = frozenset({"assigned_secret", "azure_sas", "slack_webhook"})


def secrets(text: str, is_own_key: Callable[[str], bool]) -> list[Leak]:
    """Return the secrets of a text from left to right; of two that overlap the one that begins first.

    Args:
        text: What is scanned.
        is_own_key: Whether a string of the shape of this platform's keys is one, by its checksum.
    """
    found = sorted(
        (leak for name, pattern in DETECTORS.items() for leak in _matches(name, pattern, text, is_own_key)),
        key=lambda leak: (leak.start, -leak.end, -leak.severity),
    )
    kept: list[Leak] = []
    for leak in found:
        if not kept or leak.start >= kept[-1].end:
            kept.append(leak)
    return kept


def _matches(
    name: str, pattern: re.Pattern[str], text: str, is_own_key: Callable[[str], bool]
) -> Iterator[Leak]:
    for match in pattern.finditer(text):
        group = 1 if pattern.groups else 0
        value = match[group]
        if name == "guardhouse_key" and not is_own_key(value):
            continue
        if name == "json_web_token" and not _has_header(value):
            continue
        if name == "assigned_secret" and not looks_random(value):
            continue
        severity = _SERIOUS if name in _LESS_GRAVE else _GRAVE
        yield Leak("secret", name, match.start(group), match.end(group), value, severity, match.start())


def looks_random(value: str) -> bool:
    """At least 20 characters with 3.5 bits each (Shannon's entropy of its own characters)."""
    return len(value) >= LEAST_LENGTH and entropy(value) >= LEAST_ENTROPY


def entropy(value: str) -> float:
    """Return the bits per character of a string, by how often each of its characters occurs in it."""
    counts = Counter(value).values()
    return sum(-n / len(value) * log2(n / len(value)) for n in counts)


def _has_header(token: str) -> bool:
    head = token.partition(".")[0]
    try:
        said = json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    except (ValueError, binascii.Error):
        return False
    return isinstance(said, dict) and "alg" in said
