"""What a shell offers after a flag whose values have names."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FACTORY = Path(sys.executable).with_name("factory")


def offered(words: str) -> list[str]:
    """Return what Bash is told of a line whose last word is being typed; empty where it is new."""
    parts = words.split(" ")
    environment = {
        **os.environ,
        "_FACTORY_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(parts) - 1),
    }
    ended = subprocess.run(
        [FACTORY], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.stderr == ""
    return ended.stdout.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("factory train --recipe p", ["paper", "published"]),
        ("factory downstream sweep --recipe ti", ["tiny"]),
        ("factory demo --recipe ti", ["tiny"]),
        ("factory generate --model ", ["demo"]),
        ("factory export --format n", ["nifti", "nnunet"]),
        ("factory ingest scans --lungs t", ["threshold", "totalsegmentator"]),
        ("factory ingest scans --series ", ["thinnest", "most-slices", "all"]),
        ("factory generate --sampler d", ["ddpm", "ddim", "dpmpp_2m"]),
        ("factory mix lake --min-verdict a", ["accept"]),
        # Nothing begins so: the shell offers files.
        ("factory train --recipe ./o", []),
    ],
)
def test_values_with_names_are_offered(words: str, expected: list[str]) -> None:
    assert offered(words) == expected


def test_every_recipe_that_ships_is_offered() -> None:
    from jobs.recipe import recipe_names

    assert offered("factory train --recipe ") == recipe_names()
