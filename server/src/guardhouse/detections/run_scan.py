"""Scan an answer or a piece of one; only engine processes do."""

from typing import Final

import msgspec

from guardhouse.analysis.injection.leak import Leak
from guardhouse.analysis.injection.prompt_echo import Protected, shingles
from guardhouse.analysis.injection.scan_output import Watched
from guardhouse.analysis.injection.scan_stream import Held, step
from guardhouse.detections.scan_task import Found, ScanAsk, Scanned
from guardhouse.detections.token_digest import token_digest
from guardhouse.identity.key_format import well_formed

HASH_BYTES: Final = 8
_held_to_bytes = msgspec.msgpack.Encoder().encode
_held_from_bytes = msgspec.msgpack.Decoder(Held).decode


def scanned(ask: ScanAsk) -> Scanned:
    """Scan a text; the answer holds no more of the past than the next piece needs."""
    inline = [Protected(ask.prompt_key, shingles(text, ask.prompt_key)) for text in ask.prompts]
    known = [Protected(one.key, _split(one.shingles)) for one in ask.guarded]
    watched = Watched(well_formed, ask.allowed_hosts, ask.sources, tuple(inline + known))
    held = Held() if ask.held is None else _held_from_bytes(ask.held)
    done = step(held, ask.text, watched, final=ask.final)
    return Scanned(
        tuple(_found(leak) for leak in done.leaks),
        done.flags,
        done.settled,
        held.settled,
        done.held.offset + len(done.held.text),
        None if ask.final else _held_to_bytes(done.held),
    )


def _split(hashes: bytes) -> frozenset[bytes]:
    return frozenset(hashes[n : n + HASH_BYTES] for n in range(0, len(hashes), HASH_BYTES))


def _found(leak: Leak) -> Found:
    value = token_digest(leak.value) if leak.kind == "canary" else leak.value
    return Found(leak.kind, leak.detector, leak.start, leak.end, leak.severity, value)
