"""imagesTr/NAME_0000.nii.gz with labelsTr/NAME.nii.gz and dataset.json: the layout of nnU-Net.

The older form of the Medical Segmentation Decathlon, imagesTr/NAME.nii.gz, is read as well.
Cases of imagesTs have no labels.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from factory.dicom.tree import why_no_file
from factory.errors import CaseError
from factory.ingest.masks.roles import role_of
from factory.ingest.sources.files import Files, LabelRoles
from factory.ingest.sources.image_names import stem_of

DESCRIPTION = "dataset.json"
_MAX_DESCRIPTION_BYTES = 32 * 2**20
_IMAGES = ("imagesTr", "imagesTs")
_LABELS = ("labelsTr", "labelsTs")
_CHANNEL = re.compile(r"(?P<name>.+)_(?P<channel>\d{4})")


class _DescriptionError(ValueError):
    """A dataset.json says too little, or something else than a CT."""


def take(files: list[Path], found: Files) -> list[Path]:
    """Add what is in this layout to what was found; return the other files."""
    datasets: dict[Path, dict[str, list[Path]]] = defaultdict(lambda: defaultdict(list))
    rest = []
    for file in files:
        folder = file.parent
        is_part = folder.name in _IMAGES or (
            folder.name in _LABELS and folder.with_name("images" + folder.name[-2:]).is_dir()
        )
        if is_part:
            datasets[folder.parent][folder.name].append(file)
        else:
            rest.append(file)
    for folder, parts in datasets.items():
        _take_dataset(folder, parts, found)
    return rest


def _take_dataset(folder: Path, parts: dict[str, list[Path]], found: Files) -> None:
    try:
        roles = _roles_of(_description(folder / DESCRIPTION))
    except _DescriptionError as problem:
        stems = {stem_of(file) for part in (*_IMAGES, *_LABELS) for file in parts[part]}
        names = {_CHANNEL.sub(r"\g<name>", stem) for stem in stems}
        found.rejects += [
            CaseError(name, f"{folder / DESCRIPTION} {problem}") for name in sorted(names)
        ]
        return
    for images, labels in zip(_IMAGES, _LABELS, strict=True):
        drawn = {stem_of(file): file for file in parts[labels]}
        names = _take_images(parts[images], drawn, found)
        for name, file in drawn.items():
            if name not in names:
                found.rejects.append(_no_image(name, file, images))
            elif roles:
                found.segs[name].append(file)
                found.roles[name] = roles
            else:
                found.notes[name].append("its labels name neither lung nor nodule")


def _take_images(images: list[Path], drawn: Iterable[str], found: Files) -> set[str]:
    """Add the first channel of each case; return the names of the cases."""
    names = set()
    for file in images:
        stem = stem_of(file)
        channel = None if stem in drawn else _CHANNEL.fullmatch(stem)
        if channel and int(channel["channel"]):
            found.ignored.append(str(file))
            continue
        name = channel["name"] if channel else stem
        found.cts[name].append(file)
        names.add(name)
    return names


def _no_image(name: str, file: Path, images: str) -> CaseError:
    return CaseError(
        name,
        f"found the labels {file} but no CT; expected {images}/{name}_0000.nii.gz. Add the CT, or "
        "remove the labels.",
    )


def _description(path: Path) -> dict[str, Any]:
    try:
        if reason := why_no_file(path):
            raise _DescriptionError(f"{reason}. Put it beside imagesTr.")
        if path.stat().st_size > _MAX_DESCRIPTION_BYTES:
            raise _DescriptionError(
                f"has more than {_MAX_DESCRIPTION_BYTES >> 20} MiB; expected the description of a "
                "data set. Write it again."
            )
        description = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, _DescriptionError):
            raise
        raise _DescriptionError(
            f"cannot be read ({type(error).__name__}); expected nnU-Net's JSON, with channel_names "
            "and labels. Put it beside imagesTr."
        ) from error
    if not isinstance(description, dict):
        raise _DescriptionError(
            f"is a {type(description).__name__}; expected an object with channel_names and labels. "
            "Write it as nnU-Net does."
        )
    return description


def _roles_of(description: dict[str, Any]) -> LabelRoles:
    """Return which labels are lung and nodule.

    Raises:
        _DescriptionError: Channel 0 is no CT, or there are no labels by name.
    """
    channels = description.get("channel_names") or description.get("modality")
    first = channels.get("0") if isinstance(channels, dict) else None
    if not isinstance(first, str) or first.strip().upper() != "CT":
        raise _DescriptionError(
            f"has {_quoted(first)} as channel 0; expected CT. Point to a data set of CTs, or name "
            'the channel: "channel_names": {"0": "CT"}.'
        )
    labels = description.get("labels")
    if not isinstance(labels, dict):
        raise _DescriptionError(
            'has no labels by name; expected, say, "labels": {"background": 0, "nodule": 1}. '
            "Add them."
        )
    pairs = {value: role for name, value in _named_values(labels) if (role := role_of(name))}
    return tuple(sorted(pairs.items()))


def _named_values(labels: dict[str, Any]) -> list[tuple[str, int]]:
    """Return name and value of each label: {name: value or values}, or the Decathlon's {value: name}."""
    named = []
    for key, entry in labels.items():
        if isinstance(entry, str) and key.isdecimal():
            named.append((entry, key))
        else:
            named += [(key, value) for value in (entry if isinstance(entry, list) else [entry])]
    values = [(name, _whole(value)) for name, value in named]
    return [(name, value) for name, value in values if 0 < value <= 255]


def _whole(value: Any) -> int:
    text = str(value)
    return int(text) if text.isdecimal() and len(text) <= 3 else 0


def _quoted(value: Any) -> str:
    return repr(value)[:40] if value is not None else "nothing"
