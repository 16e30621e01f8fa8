"""The anchor of the detection bench: a linear model over TF-IDF of words and pairs, behind FastAPI.

The way such a filter is written in an afternoon: Pydantic in and out, one process, no keys, no limits, no records, no
policy, no decoded views, one head. Its weights are drawn by chance; what it costs does not depend on them.
Usage: `python bench/anchors/detect_app.py <port>`.
"""

import math
import random
import re
import sys
import zlib
from collections import Counter
from itertools import pairwise

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel, Field

TABLE = 1 << 16
TOKEN = re.compile(r"\w\w+")


class Text(BaseModel):
    """What is judged."""

    text: str = Field(min_length=1, max_length=10_000)
    channel: str = "user"


class Verdict(BaseModel):
    """What is said of it."""

    is_malicious: bool
    confidence: float
    threat_types: list[str]


draw = random.Random(3)
WEIGHTS = [draw.gauss(0, 1) for _ in range(TABLE)]
RARITY = [draw.uniform(1, 9) for _ in range(TABLE)]
app = FastAPI()


def score(text: str) -> float:
    """Return the likelihood of an attack."""
    words = TOKEN.findall(text.lower())
    terms = Counter(
        zlib.crc32(term.encode()) % TABLE for term in (*words, *(f"{a} {b}" for a, b in pairwise(words)))
    )
    values = {term: count * RARITY[term] for term, count in terms.items()}
    norm = math.sqrt(sum(value * value for value in values.values())) or 1.0
    logit = sum(value * WEIGHTS[term] for term, value in values.items()) / norm
    return 1 / (1 + math.exp(-logit))


@app.post("/detect")
async def detect(text: Text) -> Verdict:
    """Judge a text."""
    confidence = score(text.text)
    return Verdict(is_malicious=confidence >= 0.5, confidence=confidence, threat_types=[])


if __name__ == "__main__":
    uvicorn.run(
        app, port=int(sys.argv[1]), log_level="error", access_log=False, http="httptools", loop="uvloop"
    )
