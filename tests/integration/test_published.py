"""Weights as Lung-DDPM's authors published them, on real scans: fed as trained, and HU come out.

The weights here are random; how they are fed and what becomes of their output is the real thing.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import draw_in_process, ingest_in_process, random_checkpoint

from factory.axes import spacing_zyx
from factory.errors import ModelError
from factory.ingest.prepare import IngestConfig
from factory.lake import MANIFEST, Lake
from factory.layouts import BACKGROUND, LUNG, NODULE
from factory.preprocessing import published
from factory.volumes import Volume
from jobs import verify
from jobs.amount import Amount
from jobs.claims import differences
from jobs.generate.config import GenerateConfig
from jobs.generate.job import generate
from jobs.lakes import read_row
from jobs.recipe import load_recipe
from manifests.read import read_manifest
from manifests.validate import validate

GRID = 32
RECIPE = load_recipe("published")
CONFIG = RECIPE.table("generate", GenerateConfig)
SCANS = ("lidc_1011", "lctsc_000")
"""One with nodules, as readers drew them, and one without."""


@dataclass(frozen=True)
class Drawn:
    """A synthetic volume and its donor, with their rows."""

    row: dict[str, Any]
    donor: dict[str, Any]
    volume: Volume
    reference: Volume

    @property
    def differs(self) -> np.ndarray:
        return self.volume.ct != self.reference.ct


@pytest.fixture(scope="module")
def scans(ct_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scans")
    for name in SCANS:
        for file in (ct_dir / "thorax").glob(f"{name}_*.nii.gz"):
            (folder / file.name).symlink_to(file)
    return folder


@pytest.fixture(scope="module")
def cases(scans: Path) -> Path:
    config = RECIPE.table("ingest", IngestConfig, grid=GRID)
    return ingest_in_process(scans, scans.with_name("cases"), config)


@pytest.fixture(scope="module", params=[("lung", "nodule"), ("nodule",)], ids=" and ".join)
def drawn(
    cases: Path, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[tuple[str, ...], Path, list[Drawn]]:
    """Labels of the model, and a lake of two volumes of each scan."""
    labels, folder = request.param, tmp_path_factory.mktemp("published")
    fed = published(labels, GRID)
    model = random_checkpoint(
        folder / "model", seed=0, grid=GRID, base_channels=24, num_steps=2, preprocessing=fed
    )
    with pytest.MonkeyPatch.context() as patch:
        draw_in_process(patch)
        generate(cases, model, folder / "lake", Amount(count=4), CONFIG, device="cpu")
    manifest = folder / "lake" / MANIFEST
    rows = read_manifest(manifest).to_pylist()
    donors = {row["case_id"]: row for row in rows if row["kind"] == "real"}
    found = [
        Drawn(row, donor, read_row(manifest, row), read_row(manifest, donor))
        for row in rows
        if row["kind"] == "synthetic" and (donor := donors[row["case_id"]])
    ]
    assert {one.row["case_id"] for one in found} == set(SCANS)
    return labels, folder / "lake", found


def test_the_recipe_makes_what_the_weights_want() -> None:
    config = RECIPE.table("ingest", IngestConfig)
    wanted = published(("lung", "nodule"), 128).ingest
    assert differences(wanted, {key: getattr(config, key) for key in wanted}) == []


def test_cases_cover_the_whole_field_of_view(drawn: Any) -> None:
    _, _, volumes = drawn
    for one in volumes:
        scan_spacing = spacing_zyx(np.array(one.donor["source_affine"]).reshape(4, 4))
        scan_mm = np.multiply(one.donor["source_shape"], scan_spacing)
        np.testing.assert_allclose(np.multiply(one.row["spacing_mm"], GRID), scan_mm, rtol=1e-6)
        assert one.volume.ct.shape == (GRID,) * 3
        np.testing.assert_array_equal(one.volume.affine, one.reference.affine)


def test_volumes_are_hu_and_equal_their_reference_where_the_model_does_not_draw(
    drawn: Any,
) -> None:
    labels, _, volumes = drawn
    for one in volumes:
        layout = one.volume.layout
        is_drawn = layout == NODULE if labels == ("nodule",) else layout != BACKGROUND
        assert one.volume.ct.dtype == np.int16
        assert not one.differs[~is_drawn].any()
        assert one.differs[is_drawn].mean() > 0.9
        assert one.row["qc_background_equal"] is True
        assert one.row["qc_changed_fraction"] == pytest.approx(one.differs[is_drawn].mean())


def test_what_is_drawn_stays_within_the_hu_of_its_slice(drawn: Any) -> None:
    _, _, volumes = drawn
    for one in volumes:
        for hu, reference in zip(one.volume.ct, one.reference.ct, strict=True):
            assert reference.min() <= hu.min()
            assert hu.max() <= reference.max()
    # Between the ends too: not all of it was clipped.
    assert all(one.row["qc_saturated_fraction"] < 0.9 for one in volumes)


def test_a_model_of_nodules_alone_draws_nodules_and_leaves_the_lungs(drawn: Any) -> None:
    labels, _, volumes = drawn
    for one in volumes:
        lung = one.volume.layout == LUNG
        assert one.row["nodules"]
        if labels == ("nodule",):
            assert not one.differs[lung].any()
            assert one.row["qc_lung_median_hu"] == one.row["qc_reference_lung_median_hu"]
        else:
            assert one.differs[lung].mean() > 0.9


def test_the_lake_is_whole_and_its_manifest_valid(drawn: Any) -> None:
    _, lake, volumes = drawn
    assert verify.problems(Lake(lake)) == []
    assert validate(read_manifest(lake / MANIFEST)) == []
    assert [one.row["hu_window"] for one in volumes] == [None] * 4
    assert {one.row["sampler"] for one in volumes} == {"ddpm authors"}


def test_cases_of_the_lungs_alone_are_refused_with_the_command_that_makes_others(
    scans: Path, tmp_path: Path
) -> None:
    lungs = ingest_in_process(scans, tmp_path / "cases", IngestConfig(grid=GRID))
    fed = published(("lung", "nodule"), GRID)
    model = random_checkpoint(tmp_path / "model", seed=0, grid=GRID, preprocessing=fed)
    with pytest.raises(
        ModelError,
        match=r"\(field_of_view was scan, is lungs\); .*`factory ingest SCANS --recipe published --grid 32 --out CASES`",
    ):
        generate(lungs, model, tmp_path / "lake", Amount(count=1), CONFIG)
    assert not (tmp_path / "lake").exists()
