"""Sign a batch with RFC 9421 `hmac-sha256` over the components of section 2.6; also the seed's plain HMAC.

Sources: RFC 9421 (HTTP Message Signatures) §2.5 for the base, §3.3.3 for the algorithm; RFC 9530.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

TAG: Final = "guardhouse-events"
ALGORITHM: Final = "hmac-sha256"
LABEL: Final = "sig1"
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_FIELDS: Final = ("content-type", "content-digest", "content-encoding", "idempotency-key")


@dataclass(frozen=True, slots=True)
class AgentKey:
    """One agent's signing key: `key_id` is `<agent_id>:<n>`, `secret` the raw bytes (32 from our server)."""

    key_id: str
    secret: bytes

    @property
    def agent_id(self) -> str:
        """The agent that this key names."""
        return self.key_id.rsplit(":", 1)[0]

    def to_text(self) -> str:
        """Return the form that `read_key` reads."""
        return f"{self.key_id}:{base64.urlsafe_b64encode(self.secret).decode('ascii').rstrip('=')}"

    def __repr__(self) -> str:
        """Show which key this is, never the secret."""
        return f"AgentKey({self.key_id!r})"


class KeyUnreadableError(ValueError):
    """A key text is not `<agent_id>:<n>:<base64url secret>`; the message never repeats the text."""


def read_key(text: str) -> AgentKey:
    """Parse `<agent_id>:<n>:<base64url secret>`, padding optional.

    Raises:
        KeyUnreadableError: the form is another, or the secret is shorter than 16 bytes.
    """
    parts = text.strip().rsplit(":", 2)
    if len(parts) != 3 or not parts[0] or not parts[1].isdecimal():  # noqa: PLR2004 -- id, number, secret
        raise KeyUnreadableError("an agent key has the form <agent_id>:<n>:<secret>")
    agent_id, number, secret = parts
    try:
        raw = base64.b64decode(secret + "=" * (-len(secret) % 4), altchars=b"-_", validate=True)
    except ValueError:
        raise KeyUnreadableError("the secret of the agent key is not base64url") from None
    if len(raw) < 16:  # noqa: PLR2004 -- 128 bits
        raise KeyUnreadableError("the secret of the agent key is shorter than 16 bytes")
    return AgentKey(f"{agent_id}:{number}", raw)


@dataclass(frozen=True, slots=True)
class Moment:
    """When a signature is made and until when it holds (s since the epoch), and its nonce."""

    created: int
    nonce: str
    expires: int | None = None


def content_digest(body: bytes) -> str:
    """Return the Content-Digest field (RFC 9530, sha-256) of the body as it is sent, after any coding."""
    return f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode('ascii')}:"


def authority(url: str) -> str:
    """Return `@authority` of a URL: lower case, without the scheme's default port (RFC 9421 §2.2.3)."""
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    if ":" in host:
        host = f"[{host}]"
    if parts.port is None or parts.port == _DEFAULT_PORTS.get(parts.scheme):
        return host
    return f"{host}:{parts.port}"


def components(url: str, headers: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the covered components of a POST with their values, in the order of section 2.6.

    `headers` are looked up by lower-case name; the fields that are not sent are not covered.
    """
    parts = urlsplit(url)
    covered = [("@method", "POST"), ("@authority", authority(url)), ("@path", parts.path or "/")]
    if parts.query:
        covered.append(("@query", "?" + parts.query))
    covered += [(name, headers[name].strip()) for name in _FIELDS if name in headers]
    return covered


def parameters(names: list[str], key_id: str, moment: Moment) -> str:
    """Return the signature parameters: covered names, then created, expires, nonce, keyid, alg, tag."""
    inner = " ".join(f'"{name}"' for name in names)
    expires = "" if moment.expires is None else f";expires={moment.expires}"
    return (
        f'({inner});created={moment.created}{expires};nonce="{moment.nonce}";keyid="{key_id}"'
        f';alg="{ALGORITHM}";tag="{TAG}"'
    )


def signature_base(covered: list[tuple[str, str]], signature_parameters: str) -> str:
    """Return the text that is signed (RFC 9421 §2.5)."""
    lines = [f'"{name}": {value}' for name, value in covered]
    return "\n".join([*lines, f'"@signature-params": {signature_parameters}'])


def sign(url: str, headers: Mapping[str, str], key: AgentKey, moment: Moment) -> dict[str, str]:
    """Return the two fields that sign a POST to `url`; `headers` (lower-case names) hold Content-Digest."""
    covered = components(url, headers)
    signature_parameters = parameters([name for name, _ in covered], key.key_id, moment)
    base = signature_base(covered, signature_parameters).encode("utf-8")
    code = base64.b64encode(hmac.digest(key.secret, base, "sha256")).decode("ascii")
    return {"signature-input": f"{LABEL}={signature_parameters}", "signature": f"{LABEL}=:{code}:"}


def sign_legacy(secret: bytes, body: bytes) -> str:
    """Return the seed's `X-Agent-Signature`: base64 of HMAC-SHA256 over the raw body, and nothing else."""
    return base64.b64encode(hmac.digest(secret, body, "sha256")).decode("ascii")
