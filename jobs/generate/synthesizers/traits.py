"""Which synthesizers there are, and what each needs and promises. Light to import."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from factory.errors import StoreError
from factory.quality.promises import Promises

DEFAULT = "lung-ddpm"
"""The paper's; ids of volumes say nothing of it, so that earlier lakes can be gone on with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Traits:
    """What is known of a synthesizer before it is made."""

    needs_model: bool
    """It runs a network: `--model` names a checkpoint, or what ships is taken."""

    needs_crops: bool = False
    """It takes the tissue of real nodules: `--nodules` names crops of them."""

    drawn: tuple[str, ...] = ()
    """Labels whose voxels it draws; none where its model decides, or where it draws all there is."""

    promises: Promises = field(default_factory=Promises)
    """What quality control may hold its volumes to."""


KNOWN = {
    DEFAULT: Traits(needs_model=True),
    "med-ddpm": Traits(needs_model=True, promises=Promises(background=False, seam=False)),
    "copy-paste": Traits(
        needs_model=False,
        needs_crops=True,
        drawn=("nodule",),
        # Where tissue meets lung the jump is the nodule's, and the scan had none there.
        promises=Promises(seam=False),
    ),
    "noise": Traits(needs_model=False, drawn=("lung", "nodule")),
}
"""By the name that a recipe gives; `choose.make_synthesizer` makes them."""


def traits_of(synthesizer: str) -> Traits:
    """Return the traits of a known synthesizer."""
    return KNOWN[synthesizer]


def synthesizer_of(identity: Mapping[str, Any], *, where: str) -> str:
    """Return what draws the volumes of a lake.

    Args:
        identity: Its `dataset.json`.
        where: Names it in errors.

    Raises:
        StoreError: This release knows no such synthesizer.
    """
    settings = identity.get("settings")
    name = settings.get("synthesizer", DEFAULT) if isinstance(settings, dict) else DEFAULT
    if not isinstance(name, str) or name not in KNOWN:
        raise StoreError(
            f"{where}: drawn by the synthesizer {name!r}; expected one of {', '.join(KNOWN)}. Use the "
            "release that drew it."
        )
    return name
