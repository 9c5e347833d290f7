"""Nodules that a plan draws with: shapes to place, and tissue where a synthesizer pastes it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from factory.errors import StoreError, UsageError
from factory.nodules.bank import NoduleBank, embedded_bank, load_bank
from factory.nodules.crops import NoduleCrops, load_crops
from jobs.generate.config import GenerateConfig


@dataclass(frozen=True, slots=True)
class Nodules:
    """What `--nodules` names, or what is embedded."""

    bank: NoduleBank
    digest: str
    """Of all that counts: shapes, and HU where they are pasted."""
    crops: NoduleCrops | None = None
    """Only where the synthesizer takes their tissue."""


def read_nodules(path: str | Path, config: GenerateConfig) -> Nodules:
    """Read the nodules that a config draws with.

    Args:
        path: Bank of shapes, or crops for a synthesizer that pastes; empty for the embedded shapes.
        config: Names the synthesizer.

    Raises:
        UsageError: The synthesizer pastes, and there is no file.
        StoreError: The file is missing, torn, or holds something else.
    """
    if config.traits.needs_crops:
        if not str(path):
            raise UsageError(
                f"--nodules: found none, and {config.synthesizer} pastes the tissue of real nodules; "
                "expected a file of crops, with HU and masks. Name one: docs/synthesizers.md says what "
                "it holds."
            )
        crops = load_crops(path)
        return Nodules(crops.bank, crops.digest, crops)
    bank = load_bank(path) if str(path) else embedded_bank()
    return Nodules(bank, bank.digest)


def check_donors(nodules: Nodules, rows: Sequence[dict[str, Any]]) -> None:
    """Refuse to paste a nodule of a patient who is held out, as far as names of crops tell.

    Args:
        nodules: From `read_nodules`; shapes without tissue pass.
        rows: Manifest rows of all cases.

    Raises:
        UsageError: A crop is named after a case or a patient in val or test.
    """
    if nodules.crops is None:
        return
    held_out = [row for row in rows if row["split"] != "train"]
    for owner in sorted({row[key] for row in held_out for key in ("case_id", "patient_id")}):
        found = next((name for name in nodules.crops.names if _is_of(name, owner)), None)
        if found is not None:
            raise UsageError(
                f"--nodules: crop {found} is named after {owner}, which is held out for validation or "
                "testing; expected nodules of training cases, or of patients outside the store. Leave it "
                "out of the crops: pasted, it would be trained on."
            )


def _is_of(name: str, owner: str) -> bool:
    """Return whether a crop has the name of a case, with a number or the like behind it."""
    return name.startswith(owner) and not name[len(owner) : len(owner) + 1].isalnum()


def read_planned_nodules(path: str, config: GenerateConfig, digest: str) -> Nodules:
    """Read them again where a plan is drawn.

    Raises:
        StoreError: They are not the plan's.
    """
    nodules = read_nodules(path, config)
    if nodules.digest != digest:
        raise StoreError(
            f"nodules {path or '(embedded)'}: found a bank of digest {nodules.digest[:12]}; expected "
            f"the plan's, {digest[:12]}. Put the same file on every node, and leave it alone while a "
            "lake is drawn."
        )
    return nodules
