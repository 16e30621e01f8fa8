"""Leave one source out: what a fold keeps away from training, generator included, and what it is tried on.

A random split said 1 % false positives where a new source gave 6 to 15 %. A family is whole on one side, always.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from train.read_sets import BIPIA, BIPIA_RAW, IN_THE_WILD, PROSE, SELF_INSTRUCT
from train.row import EXTERNAL, USER, Row


@dataclass(frozen=True, slots=True)
class Fold:
    """A fold by name: the families it leaves out, and the channel whose head it tries."""

    name: str
    channel: str
    families: frozenset[str]


_KINDS: Final = (*PROSE, "reading")

FOLDS: Final = (
    Fold(IN_THE_WILD, USER, frozenset((IN_THE_WILD,))),
    Fold("jackhhao_benign", USER, frozenset(("jackhhao_jailbreak",))),
    Fold("aliakarma", USER, frozenset(("aliakarma",))),
    Fold("self_instruct_t0", USER, frozenset(f"{SELF_INSTRUCT}_{kind}" for kind in _KINDS)),
    Fold("gpteacher_gsm8k", USER, frozenset(("gpteacher_gsm8k",))),
    Fold("bipia_email", EXTERNAL, frozenset(("bipia_email",))),
    Fold("bipia_code", EXTERNAL, frozenset(("bipia_code",))),
    Fold("bipia_table", EXTERNAL, frozenset(("bipia_table",))),
    *(Fold(f"documents_{kind}", EXTERNAL, frozenset((f"{SELF_INSTRUCT}_{kind}",))) for kind in _KINDS),
    Fold(
        "bipia_whole", EXTERNAL, frozenset((f"{BIPIA}_email", f"{BIPIA}_code", f"{BIPIA}_table", BIPIA_RAW))
    ),
)
"""``bipia_whole`` leaves out the attacks too, which the folds by context still know from the raw rows."""


def kept(fold: Fold, rows: Sequence[Row]) -> list[Row]:
    """Return the rows that the fold trains on."""
    return [row for row in rows if row.family not in fold.families]


def left_out(fold: Fold, rows: Sequence[Row]) -> list[Row]:
    """Return the rows of its channel that the fold is tried on; raw attacks count in documents only."""
    return [
        row
        for row in rows
        if row.family in fold.families and row.family != BIPIA_RAW and fold.channel in (row.channel, USER)
    ]


def benign_texts(rows: Sequence[Row]) -> list[str]:
    """Return the harmless texts that the generator may put words into, of the given rows alone."""
    return [row.text for row in rows if not row.label]
