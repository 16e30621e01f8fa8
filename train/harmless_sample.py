"""Write the harmless texts that rule packs of tenants are tried on: ``python -m train.harmless_sample``.

They come from the generator's own phrases alone; no text of a data set is among them.
"""

import json
import sys
from pathlib import Path
from typing import Final

from train.generator.hard_negatives import hard_negatives
from train.generator.plain import statements
from train.generator.sentences import Sentences
from train.generator.short_benign import short_benign

OUT: Final = Path(__file__).parents[1] / "server/src/guardhouse/detections/packs/harmless.json"
SEED: Final = "harmless"


def sample() -> list[str]:
    """Return the texts: ordinary sentences, short lines in 13 languages, questions about what attacks speak of."""
    own = Sentences([])
    rows = [*statements(SEED, own, 160), *short_benign(SEED, 80), *hard_negatives(SEED, own, 80)]
    return [row.text for row in rows]


if __name__ == "__main__":
    OUT.write_text(json.dumps(sample(), ensure_ascii=False, indent=0) + "\n", encoding="utf-8")
    sys.exit(0)
