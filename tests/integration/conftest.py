"""What tests of whole verbs share: a browser, and sets that are dear to make."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from view_pages import SeenView

    from jobs.evaluate.result import EvaluateResult
    from jobs.view.server import Server


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, which would keep other files from a loop of their own if it ran on."""
    from browsers import running_browser

    yield from running_browser()


@pytest.fixture(scope="session")
def view_lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two donors and sixty draws, one of which cannot be read."""
    from view_pages import make_view_lake

    return make_view_lake(tmp_path_factory.mktemp("view") / "a <b> & %20 #1")


@pytest.fixture(scope="session")
def view_server(view_lake: Path) -> Iterator["Server"]:
    """The lake as it is served."""
    from view_sites import served

    with served(str(view_lake)) as running:
        yield running


@pytest.fixture
def open_view(browser: Any, view_server: "Server") -> Iterator[Callable[..., "SeenView"]]:
    """What opens pages of the lake."""
    from browsers import opening
    from view_pages import SeenView

    with opening(browser, view_server.url, SeenView) as opened:
        yield opened


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Keys of volumes in the order in which they are measured, in this process."""
    from evaluations import measure_in_process

    return measure_in_process(monkeypatch)


@pytest.fixture(scope="session")
def real_cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fourteen phantoms: eight that train, three that validate, three that test."""
    from evaluations import real_set

    splits = ["train"] * 8 + ["val"] * 3 + ["test"] * 3
    return real_set(tmp_path_factory.mktemp("real") / "cases", splits)


@pytest.fixture(scope="session")
def fresh_lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight volumes with lungs of their own; only to be copied."""
    from evaluations import DONORS, relunged, scan, synthetic_set

    drawn = [(donor, relunged(scan(donor), donor)) for donor in DONORS]
    return synthetic_set(tmp_path_factory.mktemp("fresh") / "lake", drawn)


@pytest.fixture(scope="session")
def evaluated(
    real_cases: Path, fresh_lake: Path, tmp_path_factory: pytest.TempPathFactory
) -> "tuple[Path, EvaluateResult]":
    """An evaluation of the fresh lake; only to be copied."""
    from evaluations import measure_in_process

    from jobs.evaluate.job import evaluate

    out = tmp_path_factory.mktemp("evaluated") / "evaluation"
    with pytest.MonkeyPatch.context() as patch:
        measure_in_process(patch)
        return out, evaluate(str(real_cases), str(fresh_lake), out)


@pytest.fixture(scope="session")
def four_cases(tmp_path_factory: pytest.TempPathFactory, ray_cluster: None) -> Path:
    """A store of four phantoms on a 16^3 grid, one without nodules, as `ingest` makes it."""
    from generated import ingested

    return ingested(tmp_path_factory.mktemp("generate"), 4)
