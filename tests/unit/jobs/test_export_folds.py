"""What whoever trains on an export's folds is told of them."""

from pathlib import Path

import pytest
from exported_lakes import Made, export_in_process, make_lake, rows_of, set_rows

from jobs.export.job import export
from jobs.export.telling import lines_of


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    """Two training cases and one that tests, with a volume drawn into each."""
    export_in_process(monkeypatch)
    return make_lake(tmp_path, ("train", "train", "test"))


def told(made: Made, out: Path, kind: str) -> str:
    return "\n".join(lines_of(export(str(made.lake), out, kind)))


def test_folds_of_patients_are_told_not_to_hold_out_what_volumes_were_drawn_from(
    made: Made, tmp_path: Path
) -> None:
    """A model that draws was trained on all training scans, and each of them scores in a fold."""
    found = told(made, tmp_path / "Dataset501_Mix", "nnunet")
    assert "warning: each fold scores scans that the synthetic volumes may know" in found
    assert "Only imagesTs has none of these" in found


def test_folds_of_real_scans_alone_need_no_warning(made: Made, tmp_path: Path) -> None:
    set_rows(made.lake, [row for row in rows_of(made.lake) if row["kind"] == "real"])
    assert "warning" not in told(made, tmp_path / "Dataset501_Mix", "nnunet")


def test_a_format_without_folds_needs_no_warning(made: Made, tmp_path: Path) -> None:
    assert "warning" not in told(made, tmp_path / "nifti", "nifti")
