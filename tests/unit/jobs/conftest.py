"""A small case store and a lake drawn from it, made once, without Ray."""

import shutil
from pathlib import Path

import pytest
from support import draw_in_process, make_case_store


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
