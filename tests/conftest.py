"""What tests share: real CTs where there are some, a phantom, a model, one Ray cluster."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import SCAN_SIZE, random_checkpoint

from factory.phantom import Phantom, draw_phantom

REPOSITORY = Path(__file__).parents[1]

os.environ.pop("RAY_ADDRESS", None)
# What a shell starts in the background ignores Ctrl-C, and so would the commands that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


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
def ray_cluster() -> Iterator[None]:
    """One cluster of four logical CPUs for all tests that call a job in this process."""
    from jobs import cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster, "LOCAL_CPUS", 4)
        with cluster.connect():
            yield
