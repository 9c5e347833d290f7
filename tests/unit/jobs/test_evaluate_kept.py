"""What was measured is a cache: what of it is torn or does not fit is told, and measured again."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from factory.evaluation.histograms import NUM_BINS
from factory.evaluation.lung_box import THUMBNAIL
from jobs.evaluate.kept import FEATURES_SCHEMA, Kept
from jobs.evaluate.slices import FOLDER, PLANES, KeptSlices
from manifests.write import write_table

NUM_FEATURES = 3


def row(key: str, **changes: Any) -> dict[str, Any]:
    """Return a row as the file has it."""
    vectors = {
        "whole": np.arange(NUM_FEATURES),
        "lungs": np.arange(NUM_FEATURES) + 1,
        "thumbnail": np.ones(THUMBNAIL**3),
        "lung_hu": np.full(NUM_BINS, 0.25),
    }
    told = {"key": key, "volume": f"case {key}", "extractor": "net", "pair": '{"mse_lung": null}'}
    return told | {name: one.astype(np.float32) for name, one in vectors.items()} | changes


def write(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "features.parquet"
    write_table(pa.Table.from_pylist(list(rows), schema=FEATURES_SCHEMA), path)
    return path


def test_what_was_measured_is_read_back_as_it_was(tmp_path: Path, capfd: Any) -> None:
    kept = Kept(tmp_path, "net", NUM_FEATURES)
    measured = {
        name: value.tobytes() if isinstance(value, np.ndarray) else value
        for name, value in row("k").items()
    }
    kept.add(measured, "case c0")
    kept.write()
    again = Kept(tmp_path, "net", NUM_FEATURES)
    assert "k" in again
    assert "l" not in again
    assert again["k"].lungs.tolist() == [1.0, 2.0, 3.0]
    assert again["k"].lungs.dtype == np.float32
    assert again["k"].pair == {"mse_lung": None}
    assert capfd.readouterr().err == ""


def test_rows_of_another_extractor_stay_and_are_none_of_this_ones(tmp_path: Path) -> None:
    path = write(tmp_path, row("k"))
    other = Kept(tmp_path, "other net", NUM_FEATURES + 1)
    assert "k" not in other
    other.write()
    assert pq.read_table(path)["extractor"].to_pylist() == ["net"]
    assert "k" in Kept(tmp_path, "net", NUM_FEATURES)


@pytest.mark.parametrize("torn", ["half", "words", "empty", "another release"])
def test_a_torn_file_is_set_aside_with_its_reason_and_measured_again(
    torn: str, tmp_path: Path, capfd: Any
) -> None:
    path = write(tmp_path, row("k"))
    whole = path.read_bytes()
    if torn == "another release":
        table = pq.read_table(path).drop_columns(["lung_hu"])
        write_table(table.replace_schema_metadata(None), path)
    else:
        path.write_bytes(
            {"half": whole[: len(whole) // 2], "words": b"PAR1 no", "empty": b""}[torn]
        )
    content = path.read_bytes()
    kept = Kept(tmp_path, "net", NUM_FEATURES)
    assert "k" not in kept
    told = capfd.readouterr().err
    assert f"set aside as {path}.torn, and all volumes are measured again: {path}: " in told
    assert ("lung_hu" in told) == (torn == "another release")
    assert Path(f"{path}.torn").read_bytes() == content
    kept.write()
    assert len(pq.read_table(path)) == 0


def test_a_flipped_byte_never_leaves_but_as_features_that_are_measured_again(
    tmp_path: Path,
) -> None:
    path = write(tmp_path, row("k"))
    whole = path.read_bytes()
    for at in np.random.default_rng(0).integers(0, len(whole), 60):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        kept = Kept(tmp_path, "net", NUM_FEATURES)
        assert "k" not in kept or kept["k"].whole.tolist() == [0.0, 1.0, 2.0]


@pytest.mark.parametrize(
    "changes",
    [
        {"whole": np.zeros(NUM_FEATURES - 1, np.float32)},
        {"lungs": np.zeros(NUM_FEATURES + 1, np.float32)},
        {"thumbnail": np.zeros(5, np.float32)},
        {"lung_hu": np.zeros(0, np.float32)},
        {"whole": np.array([1, np.nan, 2], np.float32)},
        {"lung_hu": np.full(NUM_BINS, np.inf, np.float32)},
        {"pair": "torn"},
        {"pair": "[1]"},
        {"pair": '{"mse_lung": NaN}'},
        {"pair": '{"mse_lung": "low"}'},
        {"pair": json.dumps({"mse_lung": 10**400})},
    ],
)
def test_a_row_that_does_not_fit_the_extractor_is_measured_again_and_told(
    changes: dict[str, Any], tmp_path: Path, capfd: Any
) -> None:
    path = write(tmp_path, row("whole"), row("spoilt", **changes))
    kept = Kept(tmp_path, "net", NUM_FEATURES)
    assert "spoilt" not in kept
    assert "whole" in kept
    assert capfd.readouterr().err == (
        f"{path}: found 1 of 2 volumes with features that are cut off or not finite; expected 3 numbers each. "
        "Those volumes are measured again\n"
    )
    kept.write()
    assert pq.read_table(path)["key"].to_pylist() == ["whole"]


def test_slices_that_are_not_finite_or_none_are_measured_again(tmp_path: Path) -> None:
    folder = tmp_path / FOLDER
    folder.mkdir()
    for name, value, count in (("good", 1.0, 2), ("nan", np.nan, 2), ("none", 1.0, 0)):
        planes = {plane: np.full((count, 2048), value, np.float32) for plane in PLANES}
        np.savez(folder / f"{name}.npz", **planes)
    np.savez(folder / "words.npz", **dict.fromkeys(PLANES, np.full((2, 2048), "a")))
    kept = KeptSlices(tmp_path)
    assert [name for name in ("good", "nan", "none", "words") if name in kept] == ["good"]
