"""A model behind a URL is fetched once a node, whole or not at all."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from factory.errors import ModelError
from factory.storage import Storage
from jobs.cases import CaseStore, open_case_store
from jobs.generate import fetch, model
from jobs.generate.fetch import load_model
from jobs.generate.model import find_model, open_model
from models.card import read_model_card
from models.errors import CheckpointError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FACTORY_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models"


@pytest.fixture
def url(tmp_path: Path, model_16: Path) -> str:
    """A run behind a URL, with a model in it."""
    url = f"memory://{tmp_path.name}/run"
    MemoryFileSystem().put(f"{model_16}/", f"/{tmp_path.name}/run/model/", recursive=True)
    return url


@pytest.fixture
def digest(model_16: Path) -> str:
    return read_model_card(model_16).digest


def fetched_files(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    names: list[str] = []
    real = Storage.fetch

    def count(self: Storage, relative: str, target: Path) -> None:
        names.append(relative)
        real(self, relative, target)

    monkeypatch.setattr(Storage, "fetch", count)
    return names


def test_a_model_is_fetched_once_and_kept_under_its_digest(
    url: str, cache: Path, digest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = fetched_files(monkeypatch)
    with ThreadPoolExecutor(4) as actors:
        loaded = list(actors.map(lambda _: load_model(f"{url}/model", "cpu", digest), range(4)))
    assert {checkpoint.card.digest for checkpoint in loaded} == {digest}
    assert sorted(names) == ["model.json", "weights.safetensors"]
    assert [path.name for path in cache.iterdir() if path.is_dir()] == [digest]


def test_a_copy_that_was_damaged_is_fetched_anew(url: str, cache: Path, digest: str) -> None:
    load_model(f"{url}/model")
    weights = cache / digest / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    assert load_model(f"{url}/model").card.digest == digest
    assert read_model_card(cache / digest).digest == digest


def test_a_model_that_is_torn_behind_its_url_is_named_and_not_kept(
    url: str, cache: Path, tmp_path: Path
) -> None:
    remote = MemoryFileSystem()
    path = f"/{tmp_path.name}/run/model/weights.safetensors"
    remote.pipe_file(path, remote.cat_file(path)[:-1] + b"?")
    with pytest.raises(CheckpointError, match=r"memory:///.*/run/model: its contents have digest"):
        load_model(f"{url}/model")
    assert not [path for path in cache.iterdir() if path.is_dir()]


def test_another_model_than_the_planned_one_is_refused(url: str) -> None:
    with pytest.raises(CheckpointError, match=rf"its digest is .* but {'0' * 64} was expected"):
        load_model(f"{url}/model", expect_digest="0" * 64)


@pytest.mark.parametrize("named", ["../../elsewhere", "../" * 21 + "x", 7])
def test_a_digest_that_is_none_never_becomes_a_path(url: str, named: object) -> None:
    storage = Storage(f"{url}/model")
    storage.write_json("model.json", {"digest": named})
    with pytest.raises(CheckpointError, match=rf"has digest {named!r}; expected 64 hex"):
        load_model(storage.url)


def test_a_model_without_its_weights_is_named(url: str) -> None:
    Storage(f"{url}/model").remove("weights.safetensors")
    with pytest.raises(ModelError, match=r"run/model: found no weights\.safetensors; expected"):
        load_model(f"{url}/model")
    with pytest.raises(ModelError, match=r"run: found no model\.json; expected"):
        load_model(url)


def test_a_folder_is_loaded_where_it_lies(model_16: Path, cache: Path, digest: str) -> None:
    assert load_model(str(model_16)).card.digest == digest
    assert not cache.exists()


def test_a_run_behind_a_url_is_opened_as_one_in_a_folder_is(
    url: str, store: CaseStore, digest: str
) -> None:
    for named in (url, f"{url}/model"):
        found, card = open_model(find_model(named), store)
        assert found == Storage(f"{url}/model").url
        assert card.digest == digest


def test_a_url_without_a_model_names_where_it_was_looked_for(store: CaseStore) -> None:
    with pytest.raises(ModelError, match=r"memory://none: found no model\.json there or in memory"):
        open_model("memory://none", store)


def test_without_locks_the_model_is_fetched_all_the_same(
    url: str, digest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError("no locks available")

    monkeypatch.setattr(fetch.fcntl, "flock", no_locks)
    assert load_model(f"{url}/model").card.digest == digest


def test_where_another_was_faster_what_it_brought_is_loaded(
    url: str, cache: Path, model_16: Path, digest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed = shutil.rmtree

    def rmtree(path: Path, **given: bool) -> None:
        removed(path, **given)
        if path == cache / digest:
            shutil.copytree(model_16, path)

    monkeypatch.setattr(fetch.shutil, "rmtree", rmtree)
    assert load_model(f"{url}/model").card.digest == digest
    assert [path.name for path in cache.iterdir() if path.is_dir()] == [digest]


def test_what_a_killed_fetch_left_is_removed_by_the_next(
    url: str, cache: Path, digest: str
) -> None:
    for name in (f".{digest}.killed", ".another.running"):
        (cache / name / "model").mkdir(parents=True)
        (cache / name / "model" / "weights.safetensors").write_bytes(b"half")
    load_model(f"{url}/model")
    folders = sorted(path.name for path in cache.iterdir() if path.is_dir())
    assert folders == [".another.running", digest]


def test_a_model_that_ships_is_known_by_its_name_on_every_node(
    monkeypatch: pytest.MonkeyPatch, cases_16: Path
) -> None:
    monkeypatch.setattr(model, "check_fit", lambda *_: None)
    recorded, card = open_model(find_model("demo"), open_case_store(cases_16))
    assert recorded == "demo"
    assert load_model(recorded, expect_digest=card.digest).card == card
