"""What tests share: real CTs where there are some, a phantom, a model, one Ray cluster."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support import SCAN_SIZE, make_case_store, random_checkpoint

from factory.phantom import Phantom, draw_phantom

if TYPE_CHECKING:
    from jobs.cases import CaseStore

FSYNC = os.fsync
REPOSITORY = Path(__file__).parents[1]

os.environ.pop("RAY_ADDRESS", None)
# What a shell starts in the background ignores Ctrl-C, and so would the commands that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes are named by what they are for: what is in them may hold the time, and differ between processes."""
    return argname if isinstance(val, bytes) else None


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_the_disk() -> Iterator[None]:
    """Syncing takes four fifths of the time of a small volume; `synced` is for tests of what it brings."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are synced in this process, as they are outside of tests."""
    monkeypatch.setattr(os, "fsync", FSYNC)


@pytest.fixture(scope="session")
def ct_dir() -> Path:
    """Folder of real CTs; a test that needs them is skipped where there are none."""
    folder = Path(os.environ.get("FACTORY_CT_DIR", REPOSITORY.parent / "shared" / "ct"))
    if not folder.is_dir():
        pytest.skip(f"no real CTs at {folder}; set FACTORY_CT_DIR")
    return folder


@pytest.fixture(scope="session")
def phantom() -> Phantom:
    """A small phantom thorax."""
    return draw_phantom(7, size=SCAN_SIZE)


@pytest.fixture(scope="session")
def model_16(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint for 16^3."""
    return random_checkpoint(tmp_path_factory.mktemp("model") / "model", seed=0)


@pytest.fixture(scope="session")
def cases_32(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three phantoms on a 32^3 grid; c0 and c1 have a nodule, c2 has none."""
    return make_case_store(tmp_path_factory.mktemp("store") / "cases", 3, grid=32, bare=1)


@pytest.fixture(scope="session")
def store_32(cases_32: Path) -> "CaseStore":
    """The same, open."""
    from jobs.cases import open_case_store

    return open_case_store(cases_32)


@pytest.fixture(scope="session")
def made_layouts(cases_32: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two layouts of each of these cases; only to be copied."""
    from layout_folders import make_layouts

    out = tmp_path_factory.mktemp("made") / "layouts"
    make_layouts(cases_32, out)
    return out


@pytest.fixture
def layout_folder(made_layouts: Path, tmp_path: Path) -> Path:
    """The same, to be edited."""
    return Path(shutil.copytree(made_layouts, tmp_path / "layouts"))


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """One cluster of four logical CPUs for all tests that call a job in this process."""
    from jobs import cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster, "LOCAL_CPUS", 4)
        with cluster.connect():
            yield
