"""Content digests that do not depend on codecs, machines or dict order."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def sha256_of_voxels(volume: NDArray[Any]) -> str:
    """Return the SHA-256 of an array's values, C order, little endian."""
    little = np.ascontiguousarray(volume, dtype=volume.dtype.newbyteorder("<"))
    return hashlib.sha256(little.data).hexdigest()


def sha256_of_file(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_json(content: Any) -> str:
    """Return 32 hex digits over the canonical JSON of plain content."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
