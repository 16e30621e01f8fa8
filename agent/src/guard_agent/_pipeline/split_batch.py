"""Cuts a batch that a server refused in two, and takes single items out of one. Item bytes stay as they were sealed."""

import json
from dataclasses import replace

from guard_agent._pipeline.batch import Batch
from guard_agent.encryption import EncryptionError, PayloadEncryptor


def split_batch(batch: Batch, body: bytes, encryptor: PayloadEncryptor | None) -> tuple[Batch, Batch]:
    """Return the two halves `<id>.0` and `<id>.1` of a batch of two or more items, each as sealed as it was.

    Raises:
        EncryptionError: it was encrypted with a key that is not this encryptor's.
    """
    middle = batch.count // 2
    return (
        _part(batch, body, encryptor, 0, middle, f"{batch.id}.0"),
        _part(batch, body, encryptor, middle, batch.count, f"{batch.id}.1"),
    )


def reseal(batch: Batch, body: bytes, encryptor: PayloadEncryptor | None, identifier: str) -> Batch:
    """Return the same items as a batch of another id."""
    return replace(_part(batch, body, encryptor, 0, batch.count, identifier), resealed=True)


def read_items(batch: Batch, body: bytes, encryptor: PayloadEncryptor | None) -> list[bytes]:
    """Return the JSON of each item of a batch.

    Raises:
        EncryptionError: it was encrypted with a key that is not this encryptor's.
    """
    return _cut(batch, _plaintext(batch, body, encryptor))


def _part(
    batch: Batch, body: bytes, encryptor: PayloadEncryptor | None, begin: int, end: int, identifier: str
) -> Batch:
    plaintext = _plaintext(batch, body, encryptor)
    items = _cut(batch, plaintext)
    behind = batch.first + sum(batch.spans) + batch.count - 1
    part = plaintext[: batch.first] + b",".join(items[begin:end]) + plaintext[behind:]
    if batch.encrypted and encryptor is not None:
        envelope = json.loads(body) | {"encrypted_payload": encryptor.seal(part), "batch_id": identifier}
        part = json.dumps(envelope, separators=(",", ":")).encode("ascii")
    else:
        names = (b'"batch_id":"%s"' % name.encode("ascii") for name in (batch.id, identifier))
        # The items stand before the id, and may hold the same text: the last one is the envelope's.
        old, new = names
        before, _, after = part.rpartition(old)
        part = before + new + after
    return replace(
        batch,
        id=identifier,
        spans=batch.spans[begin:end],
        body=part,
        size=len(part),
        path=None,
        tries=0,
        due=0.0,
    )


def _plaintext(batch: Batch, body: bytes, encryptor: PayloadEncryptor | None) -> bytes:
    if not batch.encrypted:
        return body
    if encryptor is None:
        raise EncryptionError("The batch is encrypted and no key is configured")
    return encryptor.unseal(str(json.loads(body)["encrypted_payload"]))


def _cut(batch: Batch, plaintext: bytes) -> list[bytes]:
    items, at = [], batch.first
    for span in batch.spans:
        items.append(plaintext[at : at + span])
        at += span + 1
    return items
