"""Whatever bytes a file has, its reader returns or raises a `FactoryError`."""

import gzip
import json
from contextlib import suppress

import numpy as np
import pytest
from annotation_files import LUNG_TYPE, circles, sphere, stack_of, write_rtstruct, write_seg
from fuzzing import fuzz, mutated
from highdicom.seg import SegmentationTypeValues
from support import save_nifti

from factory.errors import FactoryError
from factory.ingest.masks.dicom_seg import read_dicom_seg
from factory.ingest.masks.rtstruct import read_rtstruct
from factory.ingest.nifti import has_orientation, read_ct, read_labels
from factory.ingest.points import read_points
from factory.ingest.sources import find_cases

SHAPE = (3, 12, 10)


@pytest.fixture
def survives(tmp_path):
    """Read mutations of a file; only errors of ours may leave."""

    def check(original: bytes, name: str, read, *, examples: int = 100) -> None:
        path = tmp_path / name

        def try_one(content: bytes) -> None:
            path.write_bytes(content)
            with suppress(FactoryError):
                read(path)

        fuzz(mutated(original), try_one, examples=examples)

    return check


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL", "LABELMAP"])
def test_fuzz_dicom_seg(survives, tmp_path, kind):
    stack = stack_of(shape=SHAPE)
    mask = sphere(stack, 9.0)
    segments = {"Lung": (LUNG_TYPE, mask * 1.0 if kind == "FRACTIONAL" else mask)}
    whole = write_seg(
        tmp_path / "whole.dcm", stack, segments, kind=SegmentationTypeValues[kind]
    ).read_bytes()
    survives(whole, "seg.dcm", lambda path: read_dicom_seg("a", str(path), stack), examples=50)


def test_fuzz_rtstruct(survives, tmp_path):
    stack = stack_of(shape=SHAPE)
    outlines = {"Lung": circles(stack, 9.0, num=12), "GTV": circles(stack, 4.0, num=12)}
    whole = write_rtstruct(tmp_path / "whole.dcm", stack, outlines).read_bytes()
    survives(whole, "rs.dcm", lambda path: read_rtstruct("a", str(path), stack))


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_fuzz_nifti(survives, tmp_path, name):
    volume = np.full((3, 4, 5), -1000, np.int16)
    whole = save_nifti(tmp_path / f"whole_{name}", volume, np.diag([1.0, 1.0, 2.0, 1.0]))

    def read(path):
        read_ct("a", str(path))
        has_orientation(path)

    survives(whole.read_bytes(), name, read)
    survives(whole.read_bytes(), name, lambda path: read_labels("a", str(path), None), examples=30)


def test_fuzz_the_inside_of_a_compressed_nifti(survives, tmp_path):
    volume = np.full((3, 4, 5), -1000, np.int16)
    whole = save_nifti(tmp_path / "whole.nii", volume, np.diag([1.0, 1.0, 2.0, 1.0])).read_bytes()

    def read(path):
        compressed = path.with_suffix(".nii.gz")
        compressed.write_bytes(gzip.compress(path.read_bytes(), 1))
        read_ct("a", str(compressed))

    survives(whole, "inner.bin", read)


def test_fuzz_meta_image(survives):
    header = (
        "ObjectType = Image\nNDims = 3\nTransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 0 0 0\n"
        "ElementSpacing = 1 1 2\nDimSize = 5 4 3\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    )

    def read(path):
        read_ct("a", str(path))
        has_orientation(path)

    survives(header.encode() + np.full(60, -1000, "<i2").tobytes(), "a.mha", read, examples=200)


def test_fuzz_points(survives):
    table = "seriesuid,coordX,coordY,coordZ,diameter_mm\n1.2.3,-1.5,2,3,4.4\n1.2.4,1,2,3,5\n"
    survives(table.encode(), "annotations.csv", read_points, examples=200)


def test_fuzz_the_description_of_an_nnunet_data_set(survives, tmp_path):
    for name in ("imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    whole = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "lung": [1, 2], "tumor": 2}}
    survives(json.dumps(whole).encode(), "dataset.json", lambda path: find_cases(path.parent))
