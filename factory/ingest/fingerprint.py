"""What a case is made from, as digests: the same files give the same case."""

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from factory.digests import digest_json, sha256_of_file
from factory.ingest.declared import check_regular
from factory.ingest.drawn import THRESHOLD
from factory.ingest.meta_image import header_values
from factory.ingest.sources import SourceCase


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Digests of a case's files."""

    digest: str
    """Of all that the case is made from: files, their roles, its patient; 32 hex digits."""
    ct_sha256: str
    """Of the CT's file, or over those of its series in the order of their slices."""


def fingerprint(source: SourceCase, lungs: str = THRESHOLD) -> Fingerprint:
    """Read every file of a case, and return their digests.

    Args:
        source: The case.
        lungs: How lungs that nobody drew are segmented.

    Raises:
        CaseError: A file is a pipe or a device, and may never end.
        OSError: A file is gone, or cannot be read.
    """
    for path in source.files:
        check_regular(source.case_id, path)
    ct_sha256 = _sha256_of_ct(source)
    roles = {
        "lung": source.lung,
        "nodule": source.nodule,
        "labels": tuple(filter(None, [source.labels])),
    }
    later = {"seg": source.seg, "rtstruct": source.rtstruct, "lidc_xml": source.lidc_xml}
    # Only where there are any: stores of before know nothing of them, and their cases stay.
    roles |= {role: paths for role, paths in later.items() if paths}
    content: dict[str, Any] = {"ct": ct_sha256, "patient": source.patient_id}
    content |= {role: [_sha256_of_image(path) for path in paths] for role, paths in roles.items()}
    if source.label_roles:
        content["label_roles"] = sorted(map(list, source.label_roles))
    if lungs != THRESHOLD:
        content["lungs"] = lungs
    if source.points:
        content["points"] = [asdict(point) for point in source.points]
    return Fingerprint(digest_json(content), ct_sha256)


def _sha256_of_ct(source: SourceCase) -> str:
    return _sha256_over(source.series) if source.series else _sha256_of_image(source.ct)


def _sha256_of_image(path: str) -> str:
    voxels = _voxels_of(path)
    return _sha256_over((path, voxels)) if voxels else sha256_of_file(path)


def _sha256_over(paths: tuple[str, ...]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(bytes.fromhex(sha256_of_file(Path(path))))
    return digest.hexdigest()


def _voxels_of(image: str) -> str:
    """Return the file that holds the voxels of a MetaImage, where they are not in its header's."""
    if not image.endswith(".mhd"):
        return ""
    try:
        name = header_values(image).get("ElementDataFile", "LOCAL")
        file = Path(image).with_name(Path(name).name)
    except ValueError:
        # Its reader will say what is wrong with the header.
        return ""
    return "" if name.upper() == "LOCAL" or not file.is_file() else str(file)
