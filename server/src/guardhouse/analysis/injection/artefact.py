"""The model file ``injection.ghm``: magic, header, weights, checksum.

Layout: ``GHIM``, u16 format, u32 length of the header, the header as canonical JSON, zero bytes up to a multiple of
64, then for each head 2^19 int16 weights, all little-endian, then the SHA-256 of everything before it.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from guardhouse.analysis.injection.calibrate import Curve, curve_of
from guardhouse.analysis.injection.features import BUCKETS
from guardhouse.analysis.injection.head import Head
from guardhouse.analysis.injection.model_header import (
    ALIGNMENT,
    CHECKSUM,
    FORMAT,
    MAGIC,
    START,
    BadArtefactError,
    read_header,
)
from guardhouse.analysis.injection.normalise import VERSION as NORMALISER

CHANNELS: Final = ("user", "external")


@dataclass(frozen=True, slots=True)
class Model:
    """What a model file holds. ``version`` is ``fast-<semver>+<first 12 hex of the file's SHA-256>``."""

    version: str
    sha256: str
    header: dict[str, Any]
    heads: dict[str, Head]
    curves: dict[str, Curve]


def parse(content: bytes, data: dict[str, str]) -> Model:
    """Check and read a model file.

    Args:
        content: The whole file.
        data: SHA-256 of each data file the model was trained with, by name; all must be those of the header.

    Raises:
        BadArtefactError: Magic, checksum, format, size, normaliser or a data file does not fit.
    """
    header, start = read_header(content, data)
    if header["normaliser"] != NORMALISER:
        raise BadArtefactError(
            f"the model was trained on normaliser {header['normaliser']}, this one is {NORMALISER}"
        )
    if len(content) - CHECKSUM - start != len(CHANNELS) * BUCKETS * 2:
        raise BadArtefactError(
            f"the model file holds {len(content) - CHECKSUM - start} bytes of weights, not "
            f"{len(CHANNELS) * BUCKETS * 2}"
        )
    weights = np.frombuffer(content, "<i2", len(CHANNELS) * BUCKETS, start).astype(np.int16, copy=False)
    heads = {
        channel: Head(
            weights[n * BUCKETS : (n + 1) * BUCKETS],
            said_head["bias"],
            said_head["scale_characters"],
            said_head["scale_words"],
        )
        for n, (channel, said_head) in enumerate((name, header["heads"][name]) for name in CHANNELS)
    }
    digest = hashlib.sha256(content).hexdigest()
    return Model(
        version=f"fast-{header['version']}+{digest[:12]}",
        sha256=digest,
        header=header,
        heads=heads,
        curves={channel: curve_of(header["calibration"][channel]) for channel in CHANNELS},
    )


def pack(header: dict[str, Any], heads: dict[str, Head]) -> bytes:
    """Write a model file; ``header`` gets the heads' numbers, everything else in it is the trainer's."""
    header = header | {
        "heads": {
            channel: {
                "bias": heads[channel].bias,
                "scale_characters": heads[channel].scale_characters,
                "scale_words": heads[channel].scale_words,
            }
            for channel in CHANNELS
        }
    }
    said = json.dumps(header, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    content = START.pack(MAGIC, FORMAT, len(said)) + said
    content += b"\0" * (-len(content) % ALIGNMENT)
    content += b"".join(heads[channel].weights.astype("<i2").tobytes() for channel in CHANNELS)
    return content + hashlib.sha256(content).digest()
