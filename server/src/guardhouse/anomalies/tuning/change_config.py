"""Changes the configuration by a merge patch (RFC 7396): a new version, or every fault told and nothing applied."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Final

from guardhouse.anomalies.configs import store
from guardhouse.anomalies.configs.config import (
    BOUNDS,
    CHOICES,
    MEMBERS,
    MOST_HISTORY,
    PROFILES,
    RECALIBRATING,
    Config,
    Judging,
    is_override_key,
    merged,
    resolve,
)
from guardhouse.anomalies.stream import Stream
from guardhouse.audit.record import Entry, record
from guardhouse.foundation.database import Tx
from guardhouse.foundation.errors import Problem
from guardhouse.foundation.ids import new_id
from guardhouse.identity.caller import Caller

MAX_NOTES: Final = 2000
MAX_OVERRIDES: Final = 500
_SETTABLE: Final = frozenset({*MEMBERS, "stream_overrides", "notes"})
_READ_ONLY: Final = frozenset(
    {"id", "version", "is_active", "created_at", "updated_at", "created_by", "effects"}
)


class ConfigInvalid(Problem):
    """The configuration cannot be changed like this; nothing was applied."""

    status, code, title = 422, "config_invalid", "Configuration invalid"
    remediation = "Correct the members listed in `errors`; each names its limit and what was given."


@dataclass(frozen=True, slots=True)
class Fault:
    """One member that does not fit."""

    pointer: str
    detail: str
    limit: Any
    value: Any

    @property
    def told(self) -> dict[str, Any]:
        """The fault as a problem lists it."""
        return {
            "pointer": self.pointer,
            "code": "out_of_range",
            "detail": self.detail,
            "limit": self.limit,
            "value": self.value,
        }


async def change_config(
    tx: Tx, caller: Caller, known: Config, patch: Mapping[str, Any], streams: Sequence[Stream], now: datetime
) -> Config:
    """Apply a merge patch; returns the version in force, with what it does to each stream that it touches.

    Raises:
        ConfigInvalid: with every fault.
    """
    faults = [*_unknown(patch, "", _SETTABLE)]
    own = {name: value for name, value in patch.items() if name in MEMBERS}
    faults += _faults_of_members(own, "")
    overrides, more = _merged_overrides(known.overrides, patch.get("stream_overrides", {}))
    faults += more
    notes = patch.get("notes", known.notes)
    if notes is not None and (not isinstance(notes, str) or len(notes) > MAX_NOTES):
        faults.append(
            Fault("/notes", f"notes has at most {MAX_NOTES:,} characters.", MAX_NOTES, str(notes)[:40])
        )
    _refuse(faults)
    changed = replace(known, judging=merged(known.judging, own), overrides=overrides, notes=notes)
    _refuse([*_faults_together(changed)])
    if (changed.judging, changed.overrides, changed.notes) == (known.judging, known.overrides, known.notes):
        return known
    made = replace(
        changed,
        id=new_id(),
        version=known.version + 1,
        created_at=now,
        updated_at=now,
        created_by=caller.actor.name,
        effects=tuple(_effects(known, changed, streams)),
    )
    if await store.find_version(tx, caller.tenant.no, known.version) is None:
        await store.add_version(tx, caller.tenant.no, known)
    await store.add_version(tx, caller.tenant.no, made)
    await record(tx, caller.actor, _entry(known, made))
    return made


def _refuse(faults: Sequence[Fault]) -> None:
    if faults:
        raise ConfigInvalid(faults[0].detail, errors=[fault.told for fault in faults])


def _unknown(given: Mapping[str, Any], at: str, known: frozenset[str]) -> Iterator[Fault]:
    for name in given:
        if name in _READ_ONLY and not at:
            yield Fault(f"{at}/{name}", f"{name} cannot be set.", None, given[name])
        elif name not in known:
            yield Fault(f"{at}/{name}", f"There is no member {name[:60]}.", sorted(known), None)


def _faults_of_members(given: Mapping[str, Any], at: str) -> Iterator[Fault]:
    for name, value in given.items():
        pointer = f"{at}/{name}"
        if name == "profile":
            if value not in PROFILES:
                yield Fault(pointer, f"profile is one of {', '.join(PROFILES)}.", list(PROFILES), value)
        elif name in CHOICES:
            if value not in CHOICES[name]:
                yield Fault(
                    pointer, f"{name} is one of {', '.join(CHOICES[name])}.", list(CHOICES[name]), value
                )
        else:
            yield from _faults_of_number(name, value, pointer)


def _faults_of_number(name: str, value: Any, pointer: str) -> Iterator[Fault]:
    bound = BOUNDS[name]
    whole = isinstance(getattr(Judging(), name), int)
    fits = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    if not fits or not bound.least <= value <= bound.most:
        kind = "an integer" if whole else "a number"
        detail = f"{name} is {kind} from {bound.least:g} to {bound.most:g}."
        yield Fault(pointer, detail, [bound.least, bound.most], value)


def _merged_overrides(
    known: Mapping[str, Mapping[str, Any]], patch: Any
) -> tuple[dict[str, dict[str, Any]], list[Fault]]:
    """Return the overrides after a patch: null takes out a member, or all of a stream's."""
    found = {key: dict(members) for key, members in known.items()}
    faults: list[Fault] = []
    if not isinstance(patch, dict):
        return found, [Fault("/stream_overrides", "stream_overrides is an object.", None, str(patch)[:40])]
    for key, change in patch.items():
        at = f"/stream_overrides/{key}"
        if not is_override_key(key):
            faults.append(Fault(at, "An override is of a type, or of `stream:` and an id.", None, key[:60]))
        elif change is None:
            found.pop(key, None)
        elif not isinstance(change, dict):
            faults.append(
                Fault(at, "An override is an object, or null to take it out.", None, str(change)[:40])
            )
        else:
            faults += _unknown(change, at, frozenset(MEMBERS))
            given = {name: value for name, value in change.items() if value is not None and name in MEMBERS}
            faults += _faults_of_members(given, at)
            kept = {name: value for name, value in found.get(key, {}).items() if name not in change}
            found[key] = kept | given
    found = {key: members for key, members in found.items() if members}
    if len(found) > MAX_OVERRIDES:
        faults.append(Fault("/stream_overrides", "There are too many overrides.", MAX_OVERRIDES, len(found)))
    return found, faults


def _faults_together(changed: Config) -> Iterator[Fault]:
    yield from _faults_of_sizes(changed.judging, "")
    for key, members in changed.overrides.items():
        yield from _faults_of_sizes(merged(changed.judging, members), f"/stream_overrides/{key}")


def _faults_of_sizes(judging: Judging, at: str) -> Iterator[Fault]:
    baseline, window, hop = judging.baseline_size, judging.window_size, judging.hop_size
    if hop > window:
        yield Fault(f"{at}/hop_size", "hop_size is at most window_size.", window, hop)
    if window > baseline:
        yield Fault(f"{at}/window_size", "window_size is at most baseline_size.", baseline, window)
    if baseline + window > MOST_HISTORY:
        detail = f"baseline_size and window_size are at most {MOST_HISTORY:,} together."
        yield Fault(f"{at}/baseline_size", detail, MOST_HISTORY, baseline + window)


def _effects(known: Config, changed: Config, streams: Sequence[Stream]) -> Iterator[tuple[Any, str]]:
    for stream in streams:
        before, after = resolve(known, stream), resolve(changed, stream)
        if before == after:
            continue
        anew = any(getattr(before, name) != getattr(after, name) for name in RECALIBRATING)
        yield stream.id, "recalibrate" if anew else "immediate"


def _entry(known: Config, made: Config) -> Entry:
    before, after = (asdict(one.judging) | {"stream_overrides": dict(one.overrides)} for one in (known, made))
    return Entry(
        "stream_config.change",
        f"stream_config:{made.version}",
        {name: value for name, value in before.items() if after[name] != value},
        {name: value for name, value in after.items() if before[name] != value},
        reason=made.notes,
    )
