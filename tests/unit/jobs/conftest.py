"""A small case store and a lake drawn from it, made once, without Ray."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from sampler_bench import CONFIG, Bench, MakeBench
from support import draw_in_process, make_case_store

from jobs.cases import CaseStore, open_case_store
from jobs.generate.config import GenerateConfig


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
