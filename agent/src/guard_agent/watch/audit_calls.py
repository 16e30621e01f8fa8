"""Name the calls and constants that audit records give as numbers, per ABI.

The tables in `calls/` are written from the kernel's headers by `tools/make_call_tables.py`; a number that they
lack is named as a number, never guessed.
"""

import functools
from importlib import resources
from typing import Final

ABIS: Final = {"c000003e": "x86_64", "40000003": "i386", "c00000b7": "aarch64"}
"""The `arch` field of a record (AUDIT_ARCH_*), lower case, to the name of a table."""
SOCKETCALL: Final = "socketcall"

Table = dict[int, str]


@functools.cache
def call_table(abi: str) -> Table:
    """Return number → call of one ABI; empty for an ABI without a table."""
    if abi not in ABIS.values():
        return {}
    text = resources.files("guard_agent.watch").joinpath("calls", f"{abi}.tsv").read_text("utf-8")
    return {int(number): name for number, _, name in (line.partition("\t") for line in text.splitlines())}


@functools.cache
def constants() -> dict[str, Table]:
    """Return number → name of every group of constants."""
    groups: dict[str, Table] = {}
    text = resources.files("guard_agent.watch").joinpath("calls", "constants.tsv").read_text("utf-8")
    for line in text.splitlines():
        group, number, name = line.split("\t")
        groups.setdefault(group, {})[int(number)] = name
    return groups


@functools.cache
def constant_group(group: str, abi: str) -> Table:
    """Return a group of constants as an ABI numbers them."""
    known = constants()
    return known.get(f"{group}.{abi}") or known.get(group, {})


@functools.lru_cache(4096)
def call_name(arch: str, number: int) -> str | None:
    """Return the name of a call, None when no table has it."""
    return call_table(ABIS.get(arch.lower(), "")).get(number)


def name_bits(value: int, group: Table) -> list[str]:
    """Return the names of the bits that are set, lowest first; bits without a name are left out."""
    return [name for bit, name in group.items() if value & bit]
