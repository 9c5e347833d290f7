"""Whose lake it is, and that a plan only ever grows."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from support import draw_in_process

from factory.errors import StoreError
from factory.lake import IDENTITY, MANIFEST, PLAN, Lake
from factory.quality import QualityLimits
from jobs import verify
from jobs.amount import Amount
from jobs.generate import claim, pool
from jobs.generate.config import GenerateConfig
from jobs.generate.job import generate
from jobs.quarantine import as_case_error, give_up
from manifests.errors import ManifestError

CONFIG = GenerateConfig(steps=2)


@pytest.fixture(autouse=True)
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    draw_in_process(monkeypatch)


def attempts(lake: Path) -> dict[str, str]:
    """Which attempt is each item of the manifest."""
    rows = pq.read_table(lake / MANIFEST, columns=["work_id", "attempt", "kind"]).to_pylist()
    return {row["work_id"]: row["attempt"] for row in rows if row["kind"] == "synthetic"}


def digest(lake: Path) -> bytes:
    content: bytes = pq.read_metadata(lake / MANIFEST).metadata[b"ct_factory.content_digest"]
    return content


def identity(lake: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((lake / IDENTITY).read_text())
    return content


def test_more_asked_for_extends_a_lake_and_keeps_every_finished_volume(
    cases_16: Path, model_16: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lake = tmp_path / "lake"
    generate(cases_16, model_16, lake, Amount(count=2), CONFIG)
    before = attempts(lake)
    result = generate(cases_16, model_16, lake, Amount(count=5), CONFIG)

    assert "extending: the lake was planned with 2 volumes, now 5" in capsys.readouterr().err
    assert result.num_synthetic == 5
    assert len(before) == 2
    assert before.items() <= attempts(lake).items()
    assert (identity(lake)["planned"], identity(lake)["asked"]) == (5, {"count": 5})
    assert pq.read_table(lake / PLAN).num_rows == 5
    assert verify.problems(Lake(lake)) == []
    generate(cases_16, model_16, tmp_path / "at-once", Amount(count=5), CONFIG)
    assert digest(lake) == digest(tmp_path / "at-once")


def test_fewer_asked_for_is_sent_to_mix(cases_16: Path, model_16: Path, lake: Path) -> None:
    before = (lake / PLAN).read_bytes()
    with pytest.raises(
        StoreError,
        match=r"planned with 4 volumes, and 3 .* factory mix .*lake --count 3 --out mix-3\.parquet\.",
    ):
        generate(cases_16, model_16, lake, Amount(count=3), CONFIG)
    assert (lake / PLAN).read_bytes() == before


def test_fewer_of_a_lake_that_was_not_finished_are_not_sent_to_a_mix_that_there_is_not(
    cases_16: Path, model_16: Path, lake: Path
) -> None:
    (lake / MANIFEST).unlink()
    with pytest.raises(StoreError, match=r"was not finished: repeat what it was made with") as told:
        generate(cases_16, model_16, lake, Amount(count=3), CONFIG)
    assert "factory mix" not in str(told.value)


def test_another_seed_is_another_plan_also_where_more_is_asked_for(
    cases_16: Path, model_16: Path, lake: Path
) -> None:
    for count in (3, 4, 5):
        with pytest.raises(StoreError, match=r"holds another plan .*settings\.seed was 0, is 1"):
            generate(cases_16, model_16, lake, Amount(count=count), CONFIG, seed=1)


def test_a_case_store_is_no_lake(cases_16: Path, model_16: Path) -> None:
    with pytest.raises(StoreError, match=r"found a cases folder; expected a lake, or none"):
        generate(cases_16, model_16, cases_16, Amount(count=1), CONFIG)


def test_an_extension_killed_before_it_was_promised_can_be_repeated_or_left(
    cases_16: Path, model_16: Path, lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def kill(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("factory.storage.Storage.write_json", kill)
        with pytest.raises(Killed):
            generate(cases_16, model_16, lake, Amount(count=6), CONFIG)
    assert (identity(lake)["planned"], pq.read_table(lake / PLAN).num_rows) == (4, 6)
    # The old command goes on as if nothing had been, and the new one ends what it began.
    assert generate(cases_16, model_16, lake, Amount(count=4), CONFIG).num_synthetic == 4
    assert generate(cases_16, model_16, lake, Amount(count=6), CONFIG).num_synthetic == 6
    assert verify.problems(Lake(lake)) == []


def test_a_driver_whose_lake_was_extended_meanwhile_publishes_all_of_it(
    cases_16: Path, model_16: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, stream = tmp_path / "lake", pool.stream

    def extend_meanwhile(settings: Any, todo: Any, *rest: Any) -> Iterator[dict[str, Any]]:
        yield from stream(settings, todo, *rest)
        if len(todo) == 2:
            generate(cases_16, model_16, lake, Amount(count=5), CONFIG)

    monkeypatch.setattr(pool, "stream", extend_meanwhile)
    result = generate(cases_16, model_16, lake, Amount(count=2), CONFIG)
    assert result.num_synthetic == 5
    assert identity(lake)["planned"] == pq.read_table(lake / PLAN).num_rows == 5
    assert verify.problems(Lake(lake)) == []


def test_a_plan_that_another_driver_made_shorter_is_made_whole_again(
    cases_16: Path, model_16: Path, lake: Path
) -> None:
    """Of two drivers that extend at once, the one that asks for less may write last."""
    table = pq.read_table(lake / PLAN)
    pq.write_table(table.slice(0, 2), lake / PLAN)
    assert len(claim.standing_ids(Lake(lake))) == 2
    assert generate(cases_16, model_16, lake, Amount(count=4), CONFIG).num_synthetic == 4
    assert len(claim.standing_ids(Lake(lake))) == 4


def test_one_class_of_errors_can_be_tried_again_alone(
    cases_16: Path, model_16: Path, lake: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = Lake(lake)
    for work_id, error in zip(
        sorted(found.committed_ids()), (ValueError("a"), KeyError("b")), strict=False
    ):
        found.drop(work_id)
        give_up(found, work_id, "c0", "generate", as_case_error("c0", error), run_id="r")
    nothing = generate(
        cases_16, model_16, lake, Amount(count=4), CONFIG, retry_quarantined="OSError"
    )
    assert (nothing.num_synthetic, nothing.num_quarantined) == (2, 2)
    told = capsys.readouterr().err
    assert "--retry-class OSError: found KeyError, ValueError; nothing is tried again" in told

    one = generate(cases_16, model_16, lake, Amount(count=4), CONFIG, retry_quarantined="KeyError")
    assert (one.num_synthetic, one.num_quarantined) == (3, 1)
    every = generate(cases_16, model_16, lake, Amount(count=4), CONFIG, retry_quarantined="all")
    assert (every.num_synthetic, every.num_quarantined) == (4, 0)


def test_a_driver_that_published_less_than_there_is_publishes_again(
    cases_16: Path, model_16: Path, lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It listed three of four items, and wrote its manifest over that of the driver that ended."""
    listed: list[int] = []
    committed_ids = Lake.committed_ids

    def miss_one(self: Lake) -> set[str]:
        found = committed_ids(self)
        listed.append(len(found))
        # The first listing says what is to be drawn, the second what is to be published.
        return set(sorted(found)[:3]) if len(listed) == 2 else found

    monkeypatch.setattr(Lake, "committed_ids", miss_one)
    result = generate(cases_16, model_16, lake, Amount(count=4), CONFIG)
    assert result.num_synthetic == 4
    assert len(attempts(lake)) == 4
    assert verify.problems(Lake(lake)) == []


def test_a_plan_that_cannot_be_read_for_now_is_not_taken_for_none(
    cases_16: Path, model_16: Path, lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: Any) -> None:
        raise ManifestError("could not be read") from OSError("timed out")

    before = (lake / PLAN).read_bytes()
    monkeypatch.setattr(claim, "read_table", unreachable)
    with pytest.raises(ManifestError, match="could not be read"):
        generate(cases_16, model_16, lake, Amount(count=4), CONFIG)
    assert (lake / PLAN).read_bytes() == before


def test_a_lake_is_judged_by_one_set_of_limits(cases_16: Path, model_16: Path, lake: Path) -> None:
    strict = replace(CONFIG, quality=QualityLimits(max_lung_shift_hu=1.0))
    match = r"other limits \(generate\.quality\.max_lung_shift_hu was 100\.0, is 1\.0\)"
    for count in (4, 5):
        with pytest.raises(StoreError, match=match):
            generate(cases_16, model_16, lake, Amount(count=count), strict)


def test_a_folder_of_somebodys_own_files_is_not_taken_for_a_lake(
    cases_16: Path, model_16: Path, tmp_path: Path
) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    (scans / ".DS_Store").touch()
    assert generate(cases_16, model_16, scans, Amount(count=1), CONFIG).num_synthetic == 1
    others = tmp_path / "others"
    others.mkdir()
    (others / "patient_ct.nii.gz").touch()
    with pytest.raises(
        StoreError, match=r"found 1 file or folder .* as patient_ct\.nii\.gz; expected a lake"
    ):
        generate(cases_16, model_16, others, Amount(count=1), CONFIG)
    assert [path.name for path in others.iterdir()] == ["patient_ct.nii.gz"]
