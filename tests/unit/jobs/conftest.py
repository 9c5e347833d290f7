"""Small case stores and lakes, made once, and verbs without Ray."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sampler_bench import CONFIG, Bench, MakeBench
from support import draw_in_process, make_case_store

from jobs.cases import CaseStore, open_case_store
from jobs.generate.config import GenerateConfig

if TYPE_CHECKING:
    from exported_lakes import Made

    from jobs.downstream.plan import RunSpec


@pytest.fixture(scope="session")
def cases_16(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three phantoms on a 16^3 grid; c0 and c1 have a nodule, c2 has none."""
    return make_case_store(tmp_path_factory.mktemp("store") / "cases", 3, bare=1)


@pytest.fixture(scope="session")
def whole_lake(cases_16: Path, model_16: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four finished volumes; only to be copied."""
    from jobs.amount import Amount
    from jobs.generate.config import GenerateConfig
    from jobs.generate.job import generate

    path = tmp_path_factory.mktemp("whole") / "lake"
    with pytest.MonkeyPatch.context() as patch:
        draw_in_process(patch)
        generate(cases_16, model_16, path, Amount(count=4), GenerateConfig(steps=2))
    return path


@pytest.fixture
def lake(whole_lake: Path, tmp_path: Path) -> Path:
    """A finished lake of four volumes, to be damaged."""
    return Path(shutil.copytree(whole_lake, tmp_path / "lake"))


@pytest.fixture(scope="module")
def store(cases_16: Path) -> CaseStore:
    return open_case_store(cases_16)


@pytest.fixture
def make_bench(store: CaseStore, model_16: Path, tmp_path: Path) -> MakeBench:
    def make(name: str = "lake", config: GenerateConfig = CONFIG, **changes: Any) -> Bench:
        return Bench(changes.get("store", store), model_16, tmp_path / name, config)

    return make


@pytest.fixture
def bench(make_bench: MakeBench) -> Bench:
    return make_bench()


@pytest.fixture
def own_store(cases_16: Path, tmp_path: Path) -> CaseStore:
    """A case store to be damaged."""
    return open_case_store(shutil.copytree(cases_16, tmp_path / "cases"))


@pytest.fixture(scope="session")
def sweep_source(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A lake of six training patients, two that test, and eight drawn volumes."""
    from sweeps import make_sweep_source

    return make_sweep_source(tmp_path_factory.mktemp("sweep") / "lake")


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of a sweep's runs, in the order in which they were trained; no cluster, no network."""
    from sweeps import rehearse_in_process

    return rehearse_in_process(monkeypatch)


@pytest.fixture(scope="session")
def whole_exportable(tmp_path_factory: pytest.TempPathFactory) -> "Made":
    """Four cases with two volumes drawn into each; only to be copied."""
    from exported_lakes import make_lake

    return make_lake(tmp_path_factory.mktemp("exportable"), ("train", "train", "val", "test"))


@pytest.fixture
def exportable(whole_exportable: "Made", tmp_path: Path) -> "Made":
    """The same with a lake of its own, to be damaged."""
    return whole_exportable.copied(tmp_path / "lake")


@pytest.fixture
def begun_exports(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of volumes as their export is begun, in this process."""
    from exported_lakes import export_in_process

    return export_in_process(monkeypatch)


@pytest.fixture(scope="session")
def scored_lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six scans that train, three that test, and two drawn ones; only to be copied."""
    from downstream_sets import make_set

    return make_set(tmp_path_factory.mktemp("scored") / "lake", 6, 3, synthetic=2)


@pytest.fixture
def started_runs(monkeypatch: pytest.MonkeyPatch) -> "list[RunSpec]":
    """Runs of a downstream task as they are begun, in this process, with no cluster."""
    from downstream_sets import train_in_process

    return train_in_process(monkeypatch)


@pytest.fixture(scope="session")
def ball_crops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of crops: four balls of soft tissue in a lung."""
    from nodule_crops import write_crops

    return write_crops(tmp_path_factory.mktemp("crops") / "crops.npz")
