"""Which of the paper's ablations a set is: by what its lake says of how it was drawn, or by its name.

dataset.json --> synthesizer: with a reference (AAS) or without
             --> model --> labels of its card: with the lung layout or without
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from factory.errors import FactoryError
from factory.preprocessing import Preprocessing
from factory.storage import Storage
from jobs.evaluate.given import GivenSet
from manifests.read import is_url
from models.card import CARD_NAME
from models.weights import NAMES, shipped

ABLATIONS = {
    "full": "Lung-DDPM",
    "no-aas": "without AAS",
    "no-lung-layout": "without lung layout",
    "no-both": "without both",
}
"""In the order of the table, with what it calls them. Recipes and sets are named `ablation-no-aas` or
`no-aas`."""

_BY_HOW_DRAWN = {
    ("lung-ddpm", True): "full",
    ("med-ddpm", True): "no-aas",
    ("lung-ddpm", False): "no-lung-layout",
    ("med-ddpm", False): "no-both",
}
"""By the synthesizer, and whether its network is told where the lungs lie."""

_DEFAULT = "lung-ddpm"
"""Of lakes that are older than the choice."""


def ablations_of(sets: Sequence[GivenSet]) -> dict[str, str]:
    """Return which of `ABLATIONS` each set is, by name; empty where all are the full model, or others.

    A set whose lake does not say goes by its own name.
    """
    found = {one.name: ablation_of(one) for one in sets}
    told = {name: ablation for name, ablation in found.items() if ablation}
    return told if set(told.values()) - {"full"} else {}


def ablation_of(given: GivenSet) -> str | None:
    """Return which of `ABLATIONS` a set is, or None."""
    synthesizer = _synthesizer(given.identity)
    if synthesizer not in {known for known, _ in _BY_HOW_DRAWN} | {""}:
        return None
    labels = _labels(given.identity) if synthesizer else None
    if labels is not None:
        return _BY_HOW_DRAWN[synthesizer, "lung" in labels]
    name = given.name.lower().removeprefix("ablation-")
    return name if name in ABLATIONS else None


def _synthesizer(identity: Mapping[str, Any]) -> str:
    """Return what drew a lake; empty where nothing says so."""
    config = identity.get("config")
    return str(config.get("synthesizer", _DEFAULT)) if isinstance(config, Mapping) else ""


def _labels(identity: Mapping[str, Any]) -> Sequence[str] | None:
    """Return the labels that a lake's model is told of; None where it is gone, or another one now."""
    model = str(identity.get("model", ""))
    if not model:
        return None
    place = str(shipped(model)) if model in NAMES else model
    if not is_url(place) and not Path(place, CARD_NAME).is_file():
        return None
    try:
        card = Storage(place).read_json(CARD_NAME)
        if card["digest"] != identity["settings"]["model"]:
            return None
        return Preprocessing.from_json(card["preprocessing"], where=f"model {model}").labels
    except (FactoryError, OSError, ValueError, KeyError, TypeError):
        # A model that cannot be read now is no reason not to evaluate what it drew.
        return None
