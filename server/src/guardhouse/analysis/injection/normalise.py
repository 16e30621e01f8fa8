"""From a text as sent to the readings that are judged: one base reading and the decoded views.

The order of the steps is part of the contract, and ``VERSION`` changes with any of them. No step cuts the text.
Flags alone never add to a score: emoji joiners and Persian text use zero-width characters too.
"""

from dataclasses import dataclass
from typing import Final

from guardhouse.analysis.injection import markup
from guardhouse.analysis.injection.ciphers import turned
from guardhouse.analysis.injection.decode_payloads import masked, payloads
from guardhouse.analysis.injection.findings import Findings
from guardhouse.analysis.injection.hidden_characters import clean
from guardhouse.analysis.injection.lookalikes import latin
from guardhouse.analysis.injection.offsets import Reading
from guardhouse.analysis.injection.repair_words import unscrambled, without_leet

VERSION: Final = 2


@dataclass(frozen=True, slots=True)
class View:
    """One reading: ``v0`` is the base, the others were decoded from it or from one another."""

    id: str
    kind: str
    reading: Reading


@dataclass(frozen=True, slots=True)
class Normalised:
    """All readings of a text, the base first, and the names of the steps that found something."""

    views: tuple[View, ...]
    flags: tuple[str, ...]


def normalise(text: str, *, external: bool = False) -> Normalised:
    """Read a text in every way that its steps know; ``external`` also looks into what HTML hides.

    Total on every string without lone surrogates. At most 8 views, two deep, of 40,000 code points together; beyond
    that the flag ``views_truncated`` stands.
    """
    found = Findings()
    views = [View("v0", "text", _steps(Reading(text), found, external=external))]
    while len(views) <= len(found.views):
        kind, reading, found.depth = found.views[len(views) - 1]
        views.append(View(f"v{len(views)}", kind, _steps(reading, found, external=external)))
    return Normalised(tuple(views), tuple(sorted(found.flags)))


def _steps(reading: Reading, found: Findings, *, external: bool) -> Reading:
    reading = latin(clean(reading, found), found)
    if external:
        markup.hidden_html(reading, found)
    for step in (
        markup.without_entities,
        markup.without_percent,
        markup.without_escapes,
        markup.without_gaps,
    ):
        reading = step(reading, found)
    accepted = list(payloads(reading, found))
    bare = masked(reading.text, accepted)
    turned(reading, bare, found)
    repaired = without_leet(reading, bare, found)
    # where words were repaired the stretches may have moved
    return unscrambled(repaired, bare if repaired is reading else repaired.text, found)
