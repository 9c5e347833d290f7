"""What a checkpoint says about itself: `model.json`, readable without its weights."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from models.errors import CheckpointError
from models.schedule import ScheduleConfig
from models.unet3d_config import UNet3DConfig

FORMAT_VERSION = 1
"""Version of the directory's format; part of the digest."""

CARD_NAME, WEIGHTS_NAME = "model.json", "weights.safetensors"

WAY_OUT = "Copy the checkpoint again from where it was made, or train it again"

_LATER_SETTINGS = {"front_end": "none", "prediction": "eps"}
"""Of the architecture, with what models had before there was a choice."""

ConfigT = TypeVar("ConfigT")


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelCard:
    """What a checkpoint says about itself, without its weights."""

    digest: str
    """SHA-256 (hex) of everything that changes the output: all below but `training`, and the
    weights."""

    unet: UNet3DConfig
    """Architecture of the denoiser."""

    schedule: ScheduleConfig
    """Noise schedule that it was trained with."""

    preprocessing: dict[str, object]
    """How a case must be prepared for it: plain JSON that this package does not look into."""

    training: dict[str, object]
    """Notes on how it was trained; not part of the digest."""


def read_model_card(path: str | os.PathLike[str]) -> ModelCard:
    """Read `model.json` of a checkpoint; the weights are not looked at.

    Raises:
        CheckpointError: The directory or the file is missing, torn, or of another format.
    """
    path = Path(path)
    fields = _read_card_fields(path)
    try:
        return ModelCard(
            digest=_typed(fields, "digest", str),
            unet=_unet_config(_typed(fields, "unet", dict)),
            schedule=ScheduleConfig(**_typed(fields, "schedule", dict)),
            preprocessing=_typed(fields, "preprocessing", dict),
            training=_typed(fields, "training", dict),
        )
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"checkpoint {path}: {CARD_NAME} does not describe a model of format "
            f"{FORMAT_VERSION}: {error}. {WAY_OUT}"
        ) from error


def identity_of(
    unet: UNet3DConfig, schedule: ScheduleConfig, preprocessing: Mapping[str, object]
) -> dict[str, object]:
    """Return everything in a card that changes the output, as it goes into the digest."""
    architecture = asdict(unet)
    # Cards from before these settings have no word for them, and their digests must stay.
    for setting, before in _LATER_SETTINGS.items():
        if architecture[setting] == before:
            del architecture[setting]
    return {
        "format_version": FORMAT_VERSION,
        "unet": architecture,
        "schedule": asdict(schedule),
        "preprocessing": dict(preprocessing),
    }


def existing_file(path: Path, name: str) -> Path:
    """Return a file of a checkpoint's directory.

    Raises:
        CheckpointError: The directory or the file is missing.
    """
    if not path.is_dir():
        raise CheckpointError(
            f"checkpoint {path}: there is no such directory; expected one with {CARD_NAME} and "
            f"{WEIGHTS_NAME}.{_set_aside(path)} Give a directory that training wrote"
        )
    if not (path / name).is_file():
        raise CheckpointError(
            f"checkpoint {path}: {name} is missing; expected {CARD_NAME} and {WEIGHTS_NAME}. "
            f"{WAY_OUT}"
        )
    return path / name


def torn(file: Path, error: Exception) -> CheckpointError:
    """Return the error for a file that is there and cannot be read."""
    return CheckpointError(
        f"checkpoint {file.parent}: {file.name} ({file.stat().st_size} bytes) is torn or not what "
        f"it is named: {error}. {WAY_OUT}"
    )


def _read_card_fields(path: Path) -> dict[str, object]:
    card = existing_file(path, CARD_NAME)
    try:
        fields = json.loads(card.read_text(encoding="utf-8"))
    except ValueError as error:
        raise torn(card, error) from error
    version = fields.get("format_version") if isinstance(fields, dict) else None
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"checkpoint {path}: {CARD_NAME} has format version {version!r}; this release reads "
            f"version {FORMAT_VERSION}. Use the release that wrote it, or train it again"
        )
    return cast("dict[str, object]", fields)


def _set_aside(path: Path) -> str:
    earlier = next(path.parent.glob(f".{path.name}.old-*"), None)
    if earlier is None:
        return ""
    return f" Its replacement was interrupted: the earlier one is {earlier}, rename it to restore."


def _typed(fields: Mapping[str, object], name: str, kind: type[ConfigT]) -> ConfigT:
    if not isinstance(fields.get(name), kind):
        raise TypeError(f"{name} is {fields.get(name)!r}, expected a JSON {kind.__name__}")
    return cast("ConfigT", fields[name])


def _unet_config(fields: dict[str, Any]) -> UNet3DConfig:
    return UNet3DConfig(**{**fields, "channel_mults": tuple(fields.get("channel_mults", ()))})
