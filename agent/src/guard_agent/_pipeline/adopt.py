"""Takes over the spools of dead instances: their batches go out under their own ids, their ledgers are closed.

A spool is dead when nobody holds its lock. Whatever its files hold, adopting never raises: damaged stretches are kept
aside in `corrupt/` and counted.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from guard_agent._pipeline.account import Account
from guard_agent._pipeline.batch import Batch
from guard_agent._pipeline.classes import EVENTS, LANE_OF, SENT_FIRST
from guard_agent._pipeline.frame import ENCRYPTED, ITEM, Frame, read_frames
from guard_agent._pipeline.ledger import LANES
from guard_agent._pipeline.seal import Sealer
from guard_agent._pipeline.spool import Spool, read_batch_file
from guard_agent.config import AgentConfig
from guard_agent.encryption import EncryptionError, PayloadEncryptor
from guard_agent.watch.stream import SpoolBusyError

_CORRUPT_BYTES: Final = 8 * 1024 * 1024


@dataclass(slots=True)
class Estate:
    """What a dead instance left: its spool, now ours, and its batches in the order in which they were sealed."""

    spool: Spool
    batches: list[Batch]


def adopt_spools(
    root: Path, own: set[str], config: AgentConfig, encryptor: PayloadEncryptor | None
) -> Iterator[Estate]:
    """Yield what each dead sibling below `root` left; folders named in `own` are this process's."""
    try:
        folders = sorted(path for path in root.iterdir() if path.name not in own and path.is_dir())
    except OSError:
        return
    for folder in folders:
        if not (folder / "ledger").exists():
            continue  # it is being made
        with contextlib.suppress(OSError, SpoolBusyError):
            yield _adopt(folder, config, encryptor)


def _adopt(folder: Path, config: AgentConfig, encryptor: PayloadEncryptor | None) -> Estate:
    account = Account(folder.name)
    spool = Spool(folder, account, encryptor)
    try:
        return _settle(spool, config, encryptor)
    except BaseException:
        spool.close()
        raise


def _settle(spool: Spool, config: AgentConfig, encryptor: PayloadEncryptor | None) -> Estate:
    folder, account, state = spool.folder, spool.account, spool.found
    batches, damaged = _read_batches(spool, set(state.get("gone") or ()))
    sealed_to = {kind: int((state.get("sealed_to") or {}).get(kind, 0)) for kind in SENT_FIRST}
    for batch in batches:
        sealed_to[batch.kind] = max(sealed_to[batch.kind], batch.last)
        account.ledger.keep(batch.lane, "spool", batch.count)
    frames, gap, torn = _read_items(folder, sealed_to)
    batches += _seal_again(spool, frames, config, encryptor)
    _close_gap(account, state, gap, damaged=damaged or torn)
    for path in folder.glob("items-*.log"):
        if torn:
            _keep_corrupt(path)
        path.unlink(missing_ok=True)
    spool.save()
    return Estate(spool, sorted(batches, key=lambda batch: batch.last))


def _read_batches(spool: Spool, gone: set[str]) -> tuple[list[Batch], bool]:
    """Return the whole batches that are not settled, and whether a file was damaged."""
    found: dict[str, Batch] = {}
    damaged = False
    for path in sorted((spool.folder / "batches").iterdir()):
        batch = read_batch_file(path, spool.account) if path.suffix == ".batch" else None
        if batch is not None and batch.id not in gone:
            found[batch.id] = batch
            continue
        if batch is None and path.suffix == ".batch":
            damaged = True
            _keep_corrupt(path)
        path.unlink(missing_ok=True)
    for name in list(found):
        parts = (f"{name}.0", f"{name}.1")
        halves = [part for part in parts if part in found]
        replaced = f"{name}.r" in found or len(halves) == len(parts)
        # Its process died between writing the parts and removing the whole, or between the two parts.
        for dropped in [name] if replaced else halves:
            batch = found.pop(dropped)
            if batch.path is not None:
                batch.path.unlink(missing_ok=True)
    batches = list(found.values())
    for batch in batches:
        batch.body = None
        spool.used += batch.size
    return batches, damaged


def _read_items(folder: Path, sealed_to: dict[str, int]) -> tuple[list[Frame], int, bool]:
    """Return the items that no batch holds, how many are missing between them, and whether bytes were damaged."""
    frames, numbers, torn = [], [], False
    for path in sorted(folder.glob("items-*.log")):
        try:
            data = path.read_bytes()
        except OSError:
            torn = True
            continue
        for frame in read_frames(data):
            if frame is None or frame.record != ITEM:
                torn = True
                continue
            numbers.append(frame.seq)
            if frame.seq > sealed_to[frame.kind]:
                frames.append(frame)
    safe = max(sealed_to.values())
    beyond = sorted({number for number in numbers if number > safe})
    gap = beyond[-1] - safe - len(beyond) if beyond else 0
    return sorted(frames, key=lambda frame: frame.seq), max(0, gap) if torn else 0, torn


def _seal_again(
    spool: Spool, frames: list[Frame], config: AgentConfig, encryptor: PayloadEncryptor | None
) -> list[Batch]:
    """Make batches of the items that were never sealed, on disk, in the name of the dead instance."""
    sealer = Sealer(config, spool.account, encryptor)
    batches: list[Batch] = []
    for frame in frames:
        body = _opened(frame, encryptor)
        if body is None:
            spool.account.ledger.refuse(LANE_OF[frame.kind], "spool_corrupt")
            continue
        spool.account.ledger.keep(LANE_OF[frame.kind], "spool")
        batches += sealer.add(frame.kind, body, place="spool", last=frame.seq, now=0.0)
    batches += [sealer.seal(kind, 0.0) for kind in sealer.kinds()]
    for batch in batches:
        spool.write_batch(batch)
        batch.body = None
    return batches


def _opened(frame: Frame, encryptor: PayloadEncryptor | None) -> bytes | None:
    if not frame.flags & ENCRYPTED:
        return frame.payload
    if encryptor is None:
        return None
    try:
        return encryptor.unseal(frame.payload.decode("ascii", "replace"))
    except EncryptionError:
        return None


def _close_gap(account: Account, state: dict[str, Any], gap: int, *, damaged: bool) -> None:
    """Count what the instance had captured and nothing on disk holds: lost memory, or damaged files."""
    captured = state.get("captured")
    reason = "spool_corrupt" if damaged else "shutdown_deadline"
    for lane in LANES:
        known = captured.get(lane, 0) if isinstance(captured, dict) else 0
        lost = max(0, int(known) - account.ledger.captured(lane))
        if lane == EVENTS:
            lost = max(lost, gap)
        account.ledger.refuse(lane, reason, lost)


def _keep_corrupt(path: Path) -> None:
    """Keep a damaged file for whoever wants to look into it, at most 8 MiB of them per endpoint and project."""
    folder = path.parents[1] if path.parent.name != "batches" else path.parents[2]
    kept = folder / "corrupt"
    with contextlib.suppress(OSError):
        kept.mkdir(mode=0o700, exist_ok=True)
        used = sum(entry.stat().st_size for entry in kept.iterdir())
        if used + path.stat().st_size <= _CORRUPT_BYTES:
            shutil.copyfile(path, kept / f"{os.urandom(4).hex()}-{path.name}")
