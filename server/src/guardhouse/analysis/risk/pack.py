"""Process state as bytes and back: one version byte, then compact JSON in a fixed order.

Invariant: `unpack(pack(state))` packs to the same bytes; nothing depends on hash or dict order that events
did not fix.
"""

import json
from collections.abc import Callable
from typing import Any, Final

from guardhouse.analysis.risk.event import ProcessKey
from guardhouse.analysis.risk.evidence import Slot
from guardhouse.analysis.risk.head import HeadSet
from guardhouse.analysis.risk.legacy_score import ScoreWindow
from guardhouse.analysis.risk.process import Process, Suppressed, Tally
from guardhouse.analysis.risk.profile import Profile
from guardhouse.analysis.risk.run import OpenRun
from guardhouse.analysis.risk.tree import Tree

PACK_VERSION: Final = 1
FindProfile = Callable[[str, str, int], Profile | None]
"""(exe, alphabet, version) -> that version of the baseline; None when there is none any more."""


class PackedStateError(ValueError):
    """Bytes that this version of the engine cannot read."""


def to_bytes(fields: list[Any]) -> bytes:
    """The version byte and the fields as compact ASCII JSON."""
    return bytes((PACK_VERSION,)) + json.dumps(fields, separators=(",", ":")).encode("ascii")


def from_bytes(packed: bytes) -> list[Any]:
    """The fields that `to_bytes` wrote.

    Raises:
        PackedStateError: empty, another version, or not what `to_bytes` writes.
    """
    if not packed or packed[0] != PACK_VERSION:
        raise PackedStateError(
            f"packed state of version {packed[0] if packed else None}, read {PACK_VERSION}"
        )
    try:
        fields = json.loads(packed[1:])
    except ValueError as error:
        raise PackedStateError("packed state is not readable") from error
    if not isinstance(fields, list):
        raise PackedStateError("packed state is not a list")
    return fields


def pack(process: Process) -> bytes:
    """The state of one process as bytes."""
    p = process
    return to_bytes([
        list(p.key),
        p.alphabet,
        p.exe,
        p.comm,
        None if p.parent is None else list(p.parent),
        list(p.root),
        [p.started_us, p.last_us, p.exited_us, p.first_position, p.last_position, p.others, p.calls],
        p.uid,
        p.flags,
        None if p.fds is None else list(p.fds.items()),
        None if p.marks is None else [[f, [e.hex() for e in ids]] for f, ids in sorted(p.marks.items())],
        [p.second, p.second_sum, p.second_count],
        None if p.window is None else p.window.runs,
        [p.thread, p.context, None if p.threads is None else list(p.threads.items())],
        [p.surprises, p.mean, p.rarest, p.rarest_bits],
        None if p.profile is None else [p.profile.exe, p.profile.alphabet, p.profile.version],
        None if p.slots is None else [slot.pack() for slot in p.slots],
        None
        if p.suppressed is None
        else [[s.id, s.nats, s.at_us, s.event.hex(), s.why, s.detail] for s in p.suppressed],
        None if p.tallies is None else [[name, t.pack()] for name, t in sorted(p.tallies.items())],
        None if p.tree is None else p.tree.pack(),
        [p.band, p.row_risk] if p.traces is None else [p.band, p.row_risk, [t.pack() for t in p.traces]],
        None if p.run is None else p.run.pack(),
    ])  # fmt: skip


def unpack(packed: bytes, find_profile: FindProfile, heads: HeadSet | None = None) -> Process:
    """The process that `pack` wrote, bound to the same versions of its baseline and of verdict heads.

    Raises:
        PackedStateError: see `from_bytes`.
    """
    (key, alphabet, exe, comm, parent, root, times, uid, flags, fds, marks, second, runs, sequence,
     surprise, profile, slots, suppressed, tallies, tree, shown, *run) = from_bytes(packed)  # fmt: skip
    process = Process(ProcessKey(*key), times[3], times[0], alphabet)
    process.exe = exe
    process.comm = comm
    process.parent = None if parent is None else ProcessKey(*parent)
    process.root = ProcessKey(*root)
    _, process.last_us, process.exited_us, _, process.last_position, process.others, process.calls = times
    process.uid = uid
    process.flags = flags
    process.fds = None if fds is None else dict(fds)
    if marks is not None:
        process.marks = {flag: tuple(bytes.fromhex(e) for e in ids) for flag, ids in marks}
    process.second, process.second_sum, process.second_count = second
    if runs is not None:
        process.window = ScoreWindow((a, b, c) for a, b, c in runs)
    process.thread, process.context, threads = sequence
    process.threads = None if threads is None else dict(threads)
    process.surprises, process.mean, process.rarest, process.rarest_bits = surprise
    process.profile = None if profile is None else find_profile(*profile)
    process.slots = None if slots is None else [Slot.unpack(slot) for slot in slots]
    if suppressed is not None:
        process.suppressed = [
            Suppressed(name, nats, at_us, bytes.fromhex(event), why, *detail)
            for name, nats, at_us, event, why, *detail in suppressed
        ]
    process.tallies = None if tallies is None else {name: Tally.unpack(fields) for name, fields in tallies}
    process.tree = None if tree is None else Tree.unpack(tree)
    process.band, process.row_risk, *traces = shown
    if traces and heads is not None:
        process.traces = heads.rebind(traces[0])
    process.run = OpenRun.unpack(run[0]) if run and run[0] is not None else None
    return process
