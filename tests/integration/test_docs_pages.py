"""Every block of every page runs as it is written, in order, in a folder that has what the page names.

Recipes are small: a page that draws at 128^3 for days does so at 32^3 in two steps here, in this process;
`train` and the readers are on a cluster. The pages in `AS_TYPED` are run as they are, each line a process
of its own.
"""

import gc
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
from doc_given import AS_TYPED, CHANGED, GIVEN, QUICKSTART, STORAGE
from doc_pages import PAGES, SHELL, blocks_of, name_of
from doc_places import Places
from doc_rehearsal import compute_in_process, make_recipes_small, take_small_model
from doc_shell import Shell, in_a_process, in_this_process
from s3_server import ACCESS_KEY, SECRET_KEY, serve

from factory.dicom.identity import KEY_VARIABLE
from manifests.read import mix_of, read_manifest

pytestmark = [
    pytest.mark.slow,
    # Arrays that memory maps opened, and connections that s3fs leaves open.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


def ends_of_quickstart(folder: Path) -> None:
    """Six patients, and two volumes that make a quarter of the mix."""
    counts = mix_of(folder / "lake" / "manifest.parquet")
    assert (counts.num_real, counts.num_synthetic) == (6, 2)
    assert mix_of(folder / "mix.parquet").num_synthetic == 2
    assert (folder / "evaluation" / "tables" / "table2.md").exists()
    assert list((folder / "home").rglob("*factory*")), "no completion was installed"


def ends_of_ingest(folder: Path) -> None:
    """Patients of three sources in one store, and those of the archive in another."""
    rows = read_manifest(folder / "cases" / "manifest.parquet").to_pylist()
    assert len(rows) == 6 + 12 + 1
    assert sum(row["layout_origin"] == "none" for row in rows) == 0
    assert read_manifest(folder / "data" / "cases" / "manifest.parquet").num_rows == 3


def ends_of_mixing(folder: Path) -> None:
    """As many volumes as each line asks for, of the eight that there are."""
    asked = {"mix-25": 3, "accepted": 3, "balanced": 4, "no-copies": 1}
    assert {name: mix_of(folder / f"{name}.parquet").num_synthetic for name in asked} == asked


def ends_of_export(folder: Path) -> None:
    """A file a volume, on the grid of the model and on that of the scan."""
    names = {path.name for path in (folder / "nifti" / "images").iterdir()}
    assert len(names) == 12 + 8
    assert {path.name for path in (folder / "native" / "images").iterdir()} == names


def ends_of_nnunet(folder: Path) -> None:
    """The same real volumes to train on, to score and to test with, and more to train on."""
    real, mix = (folder / "nnUNet_raw" / name for name in ("Dataset501_Real", "Dataset502_Mix25"))
    for place in ("imagesTs", "labelsTs"):
        names = [sorted(path.name for path in (each / place).iterdir()) for each in (real, mix)]
        assert names[0] == names[1]
        assert len(names[0]) == 2
    folds = [
        json.loads((folder / "nnUNet_preprocessed" / each.name / "splits_final.json").read_text())
        for each in (real, mix)
    ]
    for alone, mixed in zip(*folds, strict=True):
        assert alone["val"] == mixed["val"]
        assert set(alone["train"]) <= set(mixed["train"])
    assert len(list((mix / "imagesTr").iterdir())) == len(list((real / "imagesTr").iterdir())) + 3


ENDS: Mapping[str, Callable[[Path], None]] = {
    QUICKSTART: ends_of_quickstart,
    "docs/ingest.md": ends_of_ingest,
    "docs/mixing.md": ends_of_mixing,
    "docs/export.md": ends_of_export,
    "docs/nnunet.md": ends_of_nnunet,
}
"""What some pages must have left behind."""


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    return Places(tmp_path_factory.mktemp("given") / "made")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, as the working directory, with an empty home."""
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    # Who is held out follows from the hashes of DICOM patients.
    monkeypatch.setenv(KEY_VARIABLE, "ab" * 32)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=name_of(page), marks=[pytest.mark.ray] * any_shell)
        for page in PAGES
        for languages in [{block.language for block in blocks_of(page) if block.is_run}]
        for any_shell in [not languages.isdisjoint(SHELL)]
        if languages
    ],
)
def test_what_a_page_shows_runs(
    page: Path,
    places: Places,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    name = name_of(page)
    for shown, place in GIVEN.get(name, {}).items():
        places.put(place, folder / shown)
    changed = {shown: typed(folder) for shown, typed in CHANGED.get(name, {}).items()}
    run = in_a_process
    if name not in AS_TYPED:
        run = in_this_process
        if any(block.language in SHELL for block in blocks_of(page)):
            request.getfixturevalue("ray_cluster")
        make_recipes_small(monkeypatch)
        take_small_model(places.path("model"), monkeypatch)
        compute_in_process(monkeypatch)
    shell = Shell(folder, run, monkeypatch, changed)
    around = in_a_bucket(places, folder, monkeypatch) if name == STORAGE else nullcontext()
    with around:
        for block in blocks_of(page):
            if block.is_run:
                shell.type(block)
    assert not shell.unchanged, f"{name} no longer shows this; take it from CHANGED"
    ENDS.get(name, lambda _: None)(folder)


@contextmanager
def in_a_bucket(places: Places, folder: Path, patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Serve `s3://bucket` with a model in it, to who has the profile that the page names."""
    s3fs = pytest.importorskip("s3fs", reason="no s3fs: pip install 'ct-factory[s3]'")
    pytest.importorskip("moto", reason="no server of S3: pip install 'ct-factory[dev]'")
    for name, text in (
        ("config", "[profile research]\nregion = us-east-1\n"),
        (
            "credentials",
            f"[research]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n",
        ),
    ):
        path = folder / "home" / ".aws" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    (folder / "small.toml").write_text("[ingest]\ngrid = 32\n[generate]\nsteps = 2\n")
    (folder / "factory.toml").write_text('recipe = "small.toml"\n')
    with serve() as url:
        patch.setenv("AWS_ENDPOINT_URL", url)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        files = s3fs.S3FileSystem(key=ACCESS_KEY, secret=SECRET_KEY, endpoint_url=url)
        files.mkdir("bucket")
        files.put(str(places.path("model")), "bucket/model", recursive=True)
        yield
        s3fs.S3FileSystem.clear_instance_cache()
        # Here, where the warning of an open connection is expected.
        gc.collect()
