"""Shapes of the audit log on the wire."""

import base64
import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from guardhouse.audit.proof.store import SignedHead
from guardhouse.audit.signing_key import SigningKey
from guardhouse.audit.store import StoredEntry
from guardhouse.audit.verify import Walk
from guardhouse.foundation.clock import microseconds, rfc3339
from guardhouse.foundation.errors import ValidationFailed
from guardhouse.foundation.pages import Pagination
from guardhouse.foundation.window import Instant

Text = Annotated[str, Field(min_length=1, max_length=300)]
AuditFault = Literal[
    "missing", "altered", "unlinked", "unexpected", "head_differs", "signed_head_differs", "signature_invalid"
]


class AuditQuery(BaseModel):
    """Filters of the log; a text that ends in `*` is a beginning, as in `key.*`."""

    model_config = ConfigDict(extra="ignore")

    actor: Annotated[Text | None, Field(description="As in `actor`: `key:0199…`, `user:*`.")] = None
    action: Annotated[Text | None, Field(description="As in `action`: `key.revoke`, `member.*`.")] = None
    target: Annotated[Text | None, Field(description="As in `target`: `agent:web-1`.")] = None
    since: Annotated[Instant | None, Field(description="At or after this instant.")] = None
    until: Annotated[Instant | None, Field(description="Before this instant.")] = None

    def check_order(self) -> None:
        """Refuse a range that ends before it begins.

        Raises:
            ValidationFailed: since is after until.
        """
        if self.since is not None and self.until is not None and self.since > self.until:
            raise ValidationFailed(
                "since is after until.",
                errors=[{"parameter": "since", "code": "order", "detail": "must not be after until"}],
            )


class AuditEntry(BaseModel):
    """Who did what. `hash` covers every member and `prev_hash`, which is that of the entry before."""

    seq: int
    at: str
    actor: str
    credential: str | None
    action: str
    target: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    reason: str | None
    ip: str | None
    user_agent: str | None
    correlation_id: str
    prev_hash: str
    hash: str


class AuditList(BaseModel):
    """One page of entries."""

    data: list[AuditEntry]
    pagination: Pagination


class AuditBreak(BaseModel):
    """The first entry that is wrong.

    `missing`: it was taken out. `altered`: its members are not what was hashed. `unlinked`: it does not follow from
    the entry before; one of the two was replaced. `unexpected`: it lies beyond the head. `head_differs`: it is not
    what the head says. `signed_head_differs`: it, or one before it, is not what was signed. `signature_invalid`:
    a signed head is not ours.
    """

    seq: int
    fault: AuditFault


class AuditVerdict(BaseModel):
    """What a verification found. Keep `last_seq` and `end_hash`: a later log must still have them."""

    ok: bool
    first_seq: int
    last_seq: int
    entries: Annotated[int, Field(description="How many were looked at; the walk ends at the first break.")]
    start_hash: Annotated[str | None, Field(description="The hash before the first entry; empty before all.")]
    end_hash: Annotated[str | None, Field(description="The hash of the last entry, when all is well.")]
    signed_heads: Annotated[int, Field(description="Signed heads of the range that were compared.")]
    broken: AuditBreak | None


class AuditKey(BaseModel):
    """The public half of a signing key, as a JSON Web Key (RFC 8037)."""

    kty: Literal["OKP"] = "OKP"
    crv: Literal["Ed25519"] = "Ed25519"
    use: Literal["sig"] = "sig"
    kid: str
    x: Annotated[str, Field(description="32 bytes, base64url.")]
    created_at: str


class AuditKeyList(BaseModel):
    """Every key that signed heads or exports of this installation."""

    keys: list[AuditKey]


class AuditHead(BaseModel):
    """What the log looked like when it was last checked on a day: signed, so that it can be held against it later."""

    seq: int
    hash: str
    signed_at: str
    signed_at_us: Annotated[int, Field(description="The time as it was signed, in microseconds since 1970.")]
    key_id: str
    signature: Annotated[str, Field(description="64 bytes of ed25519, base64.")]


class AuditHeadList(BaseModel):
    """One page of signed heads, oldest first."""

    data: list[AuditHead]
    pagination: Pagination


def entry_shape(entry: StoredEntry) -> AuditEntry:
    """Return the public form of an entry."""
    return AuditEntry(
        seq=entry.seq,
        at=rfc3339(entry.at),
        actor=entry.actor,
        credential=entry.credential,
        action=entry.action,
        target=entry.target,
        before=None if entry.before is None else json.loads(entry.before),
        after=None if entry.after is None else json.loads(entry.after),
        reason=entry.reason,
        ip=entry.ip,
        user_agent=entry.user_agent,
        correlation_id=entry.correlation_id,
        prev_hash=entry.prev_hash.hex(),
        hash=entry.hash.hex(),
    )


def verdict_shape(walk: Walk) -> AuditVerdict:
    """Return the public form of a finished walk."""
    broken = walk.broken
    end = None if broken is not None or walk.end_hash is None else walk.end_hash.hex()
    return AuditVerdict(
        ok=broken is None,
        first_seq=walk.first,
        last_seq=walk.last,
        entries=walk.entries,
        start_hash=None if walk.start_hash is None else walk.start_hash.hex(),
        end_hash=end,
        signed_heads=walk.signed_heads,
        broken=None if broken is None else AuditBreak(seq=broken.seq, fault=broken.fault),
    )


def key_shape(key: SigningKey) -> AuditKey:
    """Return the public half of a key."""
    x = base64.urlsafe_b64encode(key.public).rstrip(b"=").decode()
    return AuditKey(kid=key.id, x=x, created_at=rfc3339(key.created_at))


def head_shape(head: SignedHead) -> AuditHead:
    """Return the public form of a signed head."""
    return AuditHead(
        seq=head.seq,
        hash=head.hash.hex(),
        signed_at=rfc3339(head.signed_at),
        signed_at_us=microseconds(head.signed_at),
        key_id=head.key_id,
        signature=base64.b64encode(head.signature).decode(),
    )
