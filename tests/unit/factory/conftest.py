"""What tests of scans share: series and masks that are written and read, a folder to store in."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from factory.storage import Storage

if TYPE_CHECKING:
    from dicom_stacks import StackOf

    from factory.nodules.lung_map import LungMap


@pytest.fixture
def stack_of(tmp_path: Path) -> "StackOf":
    """Write a series, find it and read it."""
    from dicom_stacks import written_stack

    return partial(written_stack, tmp_path)


@pytest.fixture
def drawn_rtstruct(tmp_path: Path) -> Callable[..., Any]:
    """Write structures on a stack as RTSTRUCT, and read them."""
    from annotation_files import stack_of, write_rtstruct

    from factory.ingest.masks.rtstruct import read_rtstruct

    def write_and_read(structures: Any, stack: Any = None, on: Any = None, **changes: Any) -> Any:
        stack = stack or stack_of()
        path = write_rtstruct(tmp_path / "rs.dcm", stack, structures, **changes)
        return read_rtstruct("a", str(path), on or stack)

    return write_and_read


@pytest.fixture
def drawn_seg(tmp_path: Path) -> Callable[..., Any]:
    """Write segments on a stack as DICOM SEG, and read them."""
    from annotation_files import write_seg

    from factory.ingest.masks.dicom_seg import read_dicom_seg

    def write_and_read(segments: Any, stack: Any, on: Any = None, **changes: Any) -> Any:
        path = write_seg(tmp_path / "seg.dcm", stack, segments, **changes)
        return read_dicom_seg("a", str(path), on or stack)

    return write_and_read


@pytest.fixture(params=["local", "memory"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    """An empty folder, on disk and behind an fsspec URL."""
    if request.param == "local":
        yield Storage(tmp_path / "lake")
        return
    remote = Storage(f"memory://{tmp_path.name}")
    yield remote
    remote.remove("")


@pytest.fixture(scope="session")
def mapped_lungs() -> "LungMap":
    """The lungs that layouts are made in by rules, mapped once."""
    from rule_layouts import CT, LAYOUT, SPACING

    from factory.nodules.lung_map import map_lungs
    from factory.nodules.rules import LayoutsConfig

    return map_lungs(CT, LAYOUT, SPACING, LayoutsConfig())
