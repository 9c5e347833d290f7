"""Cases, model and lake in a bucket, on a server of the S3 protocol that the test starts."""

import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fsspec.asyn import sync_wrapper
from s3_server import BUCKET, SECRET_KEY, environment, serve
from support import write_scan

from factory.errors import AccessError, StoreError
from factory.lake import Lake
from factory.storage import Storage
from factory.volumes import Volume, read_volume, write_volume
from jobs.generate.fetch import load_model
from models.card import read_model_card

s3fs = pytest.importorskip("s3fs", reason="no s3fs: pip install 'ct-factory[s3]'")
for package in ("moto", "flask_cors"):
    pytest.importorskip(
        package, reason="no server of the S3 protocol: pip install 'ct-factory[dev]'"
    )

pytestmark = [
    pytest.mark.slow,
    # s3fs leaves open the connections that Zarr reads and writes through.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

CONTENT = Volume(
    ct=np.arange(16**3, dtype=np.int16).reshape(16, 16, 16),
    layout=np.ones((16, 16, 16), np.uint8),
    affine=np.diag([2.0, 2.0, 3.0, 1.0]),
)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """URL of the server."""
    with serve() as url, pytest.MonkeyPatch.context() as patch:
        for key, value in environment(url).items():
            patch.setenv(key, value)
        s3fs.S3FileSystem.clear_instance_cache()
        yield url
    s3fs.S3FileSystem.clear_instance_cache()
    # Here, where its warning is expected, and not when the interpreter ends.
    gc.collect()


@pytest.fixture
def folder(server: str, request: pytest.FixtureRequest) -> Storage:
    """An empty folder of the bucket."""
    return Storage(f"s3://{BUCKET}/{request.node.name}")


def test_records_in_a_bucket_behave_as_on_a_disk(folder: Storage) -> None:
    assert folder.create_json("commits/a.json", {"attempt": 1}) is True
    assert folder.create_json("commits/a.json", {"attempt": 2}) is False
    assert folder.read_json("commits/a.json") == {"attempt": 1}
    folder.write_json("commits/b.json", {"attempt": 3})
    assert folder.names("commits") == ["a.json", "b.json"]
    assert (folder.exists("commits/b.json"), folder.exists("commits/c.json")) == (True, False)
    folder.remove("commits/a.json")
    folder.remove("commits/a.json")
    assert folder.names("commits") == ["b.json"]
    with pytest.raises(FileNotFoundError):
        folder.read_json("commits/a.json")
    folder.remove("")
    assert folder.names("") == []


def test_what_another_process_wrote_or_removed_is_seen_at_once(folder: Storage) -> None:
    other = s3fs.S3FileSystem(use_listings_cache=False, skip_instance_cache=True)
    key = f"{folder.url.removeprefix('s3://')}/commits"
    folder.create_json("commits/a.json", {})
    assert folder.names("commits") == ["a.json"]
    other.pipe_file(f"{key}/b.json", b"{}")
    other.rm_file(f"{key}/a.json")
    assert (folder.exists("commits/a.json"), folder.exists("commits/b.json")) == (False, True)
    assert folder.names("commits") == ["b.json"]


def test_the_mark_that_a_console_leaves_for_a_folder_is_no_record(folder: Storage) -> None:
    key = f"{folder.url.removeprefix(f's3://{BUCKET}/')}/commits/"
    s3fs.S3FileSystem().call_s3("put_object", Bucket=BUCKET, Key=key, Body=b"")
    assert folder.names("commits") == []
    folder.create_json("commits/a.json", {})
    assert folder.names("commits") == ["a.json"]


def test_a_folder_is_listed_by_its_own_pages_and_never_by_the_folder_above(
    folder: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    real = s3fs.S3FileSystem._call_s3

    async def page(self: Any, method: str, *args: Any, **given: Any) -> Any:
        asked.append(given.get("Prefix", method))
        return await real(
            self, method, *args, **given, **({"MaxKeys": 2} if "Prefix" in given else {})
        )

    for name in ("commits/a.json", "commits/b.json", "commits/deeper/c.json"):
        folder.write_json(name, {})
    monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", page)
    monkeypatch.setattr(s3fs.S3FileSystem, "call_s3", sync_wrapper(page))
    here = folder.url.removeprefix(f"s3://{BUCKET}/")
    assert folder.names("quarantine") == []
    assert asked == [f"{here}/quarantine/"]
    assert folder.names("commits") == ["a.json", "b.json", "deeper"]
    assert asked[1:] == [f"{here}/commits/"] * 2


def test_of_sixteen_writers_exactly_one_creates_a_record(folder: Storage) -> None:
    with ThreadPoolExecutor(16) as writers:
        for race in range(8):
            name = f"commits/{race}.json"
            won = list(
                writers.map(lambda n, name=name: folder.create_json(name, {"n": n}), range(16))
            )
            assert sum(won) == 1
            assert folder.read_json(name) == {"n": won.index(True)}


def test_a_lost_answer_and_a_conflict_leave_the_record_to_who_wrote_it(folder: Storage) -> None:
    for trouble in ("lost-answer", "busy"):
        assert folder.create_json(f"{trouble}/a.json", {"attempt": 1}) is True
        assert folder.create_json(f"{trouble}/a.json", {"attempt": 2}) is False
        assert folder.read_json(f"{trouble}/a.json") == {"attempt": 1}


def test_a_server_without_conditions_is_named_with_the_way_out(folder: Storage) -> None:
    with pytest.raises(
        StoreError, match=r"no-conditions/a\.json: the server answered 501 .*Use Am"
    ):
        folder.create_json("no-conditions/a.json", {})
    with pytest.raises(StoreError, match=r"deaf: the server wrote over an object"):
        Lake(folder.child("deaf")).claim({"kind": "lake"})


def test_a_bucket_that_is_not_there_is_named_with_the_way_out(server: str) -> None:
    assert Lake("s3://not-made/lake").identity() is None
    with pytest.raises(StoreError, match=r"s3://not-made/lake: found no such bucket .*Make it"):
        Lake("s3://not-made/lake").claim({"kind": "lake"})


def test_credentials_that_are_missing_are_told_with_where_to_put_them(
    folder: Storage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(key)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(
        AccessError, match=r"^s3://.*: found no right to it .*credentials.*Set AWS_PROFILE"
    ):
        Storage(folder.url).read_json("a.json")
    s3fs.S3FileSystem.clear_instance_cache()


def test_a_volume_comes_back_from_a_bucket_and_a_lost_chunk_is_found(folder: Storage) -> None:
    write_volume(folder, "volumes/a.0.ome.zarr", CONTENT, kind="real")
    back = read_volume(folder, "volumes/a.0.ome.zarr")
    np.testing.assert_array_equal(back.ct, CONTENT.ct)
    np.testing.assert_array_equal(back.layout, CONTENT.layout)
    folder.remove("volumes/a.0.ome.zarr/0/c")
    with pytest.raises(
        StoreError, match=r"s3://.*a\.0\.ome\.zarr: found 4,096 voxels never written"
    ):
        read_volume(folder, "volumes/a.0.ome.zarr")


def test_what_lost_a_race_is_swept_from_a_bucket(folder: Storage) -> None:
    lake = Lake(folder.url)
    for attempt in ("won", "lost"):
        write_volume(lake.storage, lake.volume_path("a", attempt), CONTENT)
    kept = lake.volume_path("a", "won")
    assert lake.commit("a", {"image_uri": kept})
    assert not lake.commit("a", {"image_uri": lake.volume_path("a", "lost")})
    assert lake.committed_ids() == {"a"}
    assert lake.sweep({"a": kept}) == 1
    assert lake.storage.names("volumes") == ["a.won.ome.zarr"]


def test_a_model_in_a_bucket_is_fetched_and_loaded(
    folder: Storage, model_16: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACTORY_CACHE_DIR", str(tmp_path))
    s3fs.S3FileSystem().put(f"{model_16}/", f"{folder.url}/model/", recursive=True)
    digest = read_model_card(model_16).digest
    assert load_model(folder.child("model"), "cpu", digest).card.digest == digest
    assert (tmp_path / "models" / digest / "weights.safetensors").is_file()


SCENE = """
import sys
from pathlib import Path

import pytest
from support import draw_in_process, ingest_in_process

from factory.ingest.prepare import IngestConfig
from jobs.amount import Amount
from jobs.app import app
from jobs.generate.config import GenerateConfig
from jobs.generate.job import generate

scans, model, bucket = sys.argv[1:]
ingest_in_process(Path(scans), f"{bucket}/cases", IngestConfig(grid=16))
with pytest.MonkeyPatch.context() as patch:
    draw_in_process(patch)
    for _ in range(2):
        made = generate(
            f"{bucket}/cases", model, f"{bucket}/lake", Amount(count=2), GenerateConfig(steps=2)
        )
assert made.num_synthetic == 2, made
for verb in (["status"], ["verify"]):
    app([*verb, f"{bucket}/lake"], standalone_mode=False)
"""
"""What people do with a bucket, in a process that has it in its environment from the start."""


def test_cases_and_lake_live_in_a_bucket_and_no_written_byte_holds_the_secret(
    server: str, folder: Storage, model_16: Path, tmp_path: Path
) -> None:
    for seed in range(2):
        write_scan(tmp_path / "scans", f"c{seed}", seed)
    s3fs.S3FileSystem().put(f"{model_16}/", f"{folder.url}/model/", recursive=True)
    told = _in_a_process(server, str(tmp_path / "scans"), f"{folder.url}/model", folder.url)
    assert "planned 2\ncommitted 2\nquarantined 0\nmissing 0\npublished yes\n" in told.stdout
    assert f"ok {folder.url}/lake\n" in told.stdout
    assert "resuming: 2 of 2 items done, 0 to draw" in told.stderr
    objects = s3fs.S3FileSystem().find(folder.url)
    assert sum(name.endswith("manifest.parquet") for name in objects) == 2
    written = [s3fs.S3FileSystem().cat_file(name) for name in objects]
    secret = SECRET_KEY.encode()
    assert not [name for name, data in zip(objects, written, strict=True) if secret in data]
    assert SECRET_KEY not in told.stdout + told.stderr


def _in_a_process(server: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    # pyarrow reads its endpoint once, when the process starts.
    tests = str(Path(__file__).parents[1])
    known: dict[str, Any] = {**os.environ, **environment(server)}
    paths = [tests, *filter(None, [known.get("PYTHONPATH")])]
    ended = subprocess.run(
        [sys.executable, "-c", SCENE, *arguments],
        env={**known, "PYTHONPATH": os.pathsep.join(paths)},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended
