"""What each synthesizer draws, and that it keeps what it promises."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nodule_crops import write_crops
from sampler_bench import Bench, bench_of, config_of, donor_of, reference_of

from factory import preprocessing
from factory.digests import sha256_of_voxels
from factory.errors import StoreError
from factory.intensity import HU_MAX, HU_MIN, HuWindow
from factory.layouts import BACKGROUND, LUNG, NODULE, layout_channels
from factory.nodules.crops import load_crops
from factory.nodules.fill import fill_nodules
from factory.storage import Storage
from factory.volumes import Volume, write_volume
from jobs.cases import CaseStore
from jobs.generate.synthesizers.choose import _MAKERS
from jobs.generate.synthesizers.copy_paste import CopyPaste
from jobs.generate.synthesizers.noise import Noise
from jobs.generate.synthesizers.synthesizer import Prepared, UnfitError
from jobs.generate.synthesizers.traits import KNOWN
from jobs.recipe import recipe_names
from models.checkpoint import load_checkpoint
from models.ddpm import ddpm_sample
from models.engine import SamplingEngine

ALL = tuple(KNOWN)


@pytest.fixture
def make(store: CaseStore, model_16: Path, ball_crops: Path, tmp_path: Path) -> Any:
    def make(name: str, lake: str = "lake", **changes: Any) -> Bench:
        chosen = {"store": store} | {k: changes.pop(k) for k in ("store",) if k in changes}
        return bench_of(chosen["store"], model_16, ball_crops, tmp_path / lake, name, **changes)

    return make


def test_what_recipes_can_name_is_what_can_be_made() -> None:
    assert tuple(_MAKERS) == ALL


def test_the_page_about_them_names_each_and_no_recipe_that_is_not_there() -> None:
    page = (Path(__file__).parents[3] / "docs" / "synthesizers.md").read_text()
    table = page.partition("| `synthesizer`")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `([a-z-]+)` ", table, re.MULTILINE) == list(ALL)
    recipes = set(re.findall(r"--recipe ([a-z-]+)", page)) | set(
        re.findall(r"`(ablation-[a-z-]+)`", page)
    )
    assert recipes <= set(recipe_names())
    assert {name for name in recipe_names() if name.startswith("ablation")} <= recipes


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("case_id", ["c0", "c2"])
def test_each_draws_all_that_it_says_and_keeps_the_rest_bit_for_bit(
    make: Any, store: CaseStore, name: str, case_id: str
) -> None:
    bench = make(name)
    assert bench.draw(case_id)["problem"] == ""
    volume, reference = bench.volume(case_id), reference_of(store, case_id)
    drawn = {
        "lung-ddpm": volume.layout != BACKGROUND,
        "med-ddpm": np.ones(volume.layout.shape, bool),
        "copy-paste": volume.layout == NODULE,
        "noise": volume.layout != BACKGROUND,
    }[name]
    assert drawn.any()
    assert (volume.ct[drawn] != reference.ct[drawn]).mean() > 0.6
    np.testing.assert_array_equal(volume.ct[~drawn], reference.ct[~drawn])
    np.testing.assert_array_equal(volume.layout == BACKGROUND, reference.layout == BACKGROUND)


@pytest.mark.parametrize("name", ALL)
def test_a_seed_says_every_voxel_and_another_draws_another_volume(make: Any, name: str) -> None:
    one, other = make(name, "one"), make(name, "other")
    other.draw("c1")
    assert one.draw("c0")["committed"]
    assert other.draw("c0")["committed"]
    assert one.row("c0")["image_sha256"] == other.row("c0")["image_sha256"]
    prepared = one.sampler._sampler.prepare(one.items["c0"], donor_of(one.store, "c0"))
    drawn = {sha256_of_voxels(one.sampler._sampler.sample(prepared, s)) for s in range(5)}
    assert len(drawn) >= 3


@pytest.mark.parametrize(
    ("name", "sampler", "has_model"),
    [
        ("lung-ddpm", "ddpm", True),
        ("med-ddpm", "med-ddpm ddpm", True),
        ("copy-paste", "copy-paste", False),
        ("noise", "noise", False),
    ],
)
def test_the_row_says_who_drew_it_and_with_what(
    make: Any, name: str, sampler: str, has_model: bool
) -> None:
    bench = make(name)
    bench.draw("c0")
    row = bench.row("c0")
    assert row["sampler"] == sampler
    assert (row["model_digest"] is not None, row["steps"], row["hu_window"]) == (
        has_model,
        2 if has_model else None,
        [-1024.0, 600.0] if has_model else None,
    )
    assert row["env_fingerprint"].startswith("torch" if has_model else "numpy")


@pytest.mark.parametrize(
    ("name", "background", "has_seam", "num_notes"),
    [
        ("lung-ddpm", True, True, 0),
        ("med-ddpm", None, False, 2),
        ("copy-paste", True, False, 1),
        ("noise", True, True, 0),
    ],
)
def test_quality_control_checks_what_is_promised_and_tells_the_rest(
    make: Any, name: str, background: bool | None, has_seam: bool, num_notes: int
) -> None:
    bench = make(name)
    bench.draw("c0")
    row = bench.row("c0")
    assert row["qc_background_equal"] is background
    assert row["qc_background_changed"] == (None if background is None else 0)
    assert (row["qc_seam_score"] is not None) is has_seam
    assert len(row.get("notes") or []) == num_notes
    assert row["qc_changed_fraction"] > 0.6


def test_med_ddpm_is_plain_sampling_after_the_layout(
    make: Any, model_16: Path, store: CaseStore
) -> None:
    bench = make("med-ddpm", clip_x0=False, sigma="beta")
    bench.draw("c0")
    volume, checkpoint = bench.volume("c0"), load_checkpoint(model_16)
    generator = torch.Generator().manual_seed(bench.items["c0"].seed)
    x_0 = ddpm_sample(
        SamplingEngine(checkpoint.denoiser),
        checkpoint.schedule,
        condition=torch.from_numpy(layout_channels(volume.layout))[None],
        draw_noise=lambda shape: torch.randn(shape, generator=generator),
        num_steps=2,
        clip_x0=False,
        variance="beta",
    )
    np.testing.assert_array_equal(volume.ct, HuWindow().decode(x_0[0, 0].numpy()))


def test_med_ddpm_sees_nothing_of_the_donor_but_its_layout(make: Any, own_store: CaseStore) -> None:
    reference = reference_of(own_store, "c0")
    other = Volume(ct=reference.ct[::-1].copy(), layout=reference.layout, affine=reference.affine)
    write_volume(Storage(own_store.url), "volumes/other.ome.zarr", other)
    donor = donor_of(own_store, "c0")
    changed = donor | {
        "image_uri": "volumes/other.ome.zarr",
        "image_sha256": sha256_of_voxels(other.ct),
    }
    volumes = []
    for lake, given in (("one", donor), ("other", changed)):
        bench = make("med-ddpm", lake, store=own_store)
        assert bench.draw("c0", given)["problem"] == ""
        volumes.append(bench.volume("c0").ct)
    np.testing.assert_array_equal(*volumes)


def test_copy_paste_fills_the_nodules_of_the_layout_from_the_crops(
    make: Any, store: CaseStore, ball_crops: Path
) -> None:
    bench = make("copy-paste")
    bench.draw("c2")
    volume, reference = bench.volume("c2"), reference_of(store, "c2")
    expected, names = fill_nodules(
        reference.ct,
        volume.layout,
        tuple(donor_of(store, "c2")["spacing_mm"]),
        load_crops(ball_crops),
        np.random.default_rng(bench.items["c2"].seed),
    )
    assert names
    np.testing.assert_array_equal(volume.ct, expected)


def test_copy_paste_gives_up_a_layout_that_leaves_out_a_nodule_of_the_donor(
    make: Any, own_store: CaseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its tissue would stay, without a label."""
    bench = make("copy-paste", store=own_store)
    reference = reference_of(own_store, "c0")
    erased = np.where(reference.layout == NODULE, np.uint8(LUNG), reference.layout)
    num_voxels = int((reference.layout == NODULE).sum())
    erased[tuple(np.argwhere(reference.layout == LUNG)[0])] = NODULE
    monkeypatch.setattr(bench.sampler._sampler, "_layout", lambda item, reference: erased)
    assert bench.draw("c0")["problem"] == (
        f"case c0: its layout leaves out {num_voxels} voxels of nodules that the scan has; expected all "
        "of them, for copy-paste takes no tissue away, and would leave nodules without a label. Keep "
        "them in the layout, or take a synthesizer that draws the lungs."
    )
    assert bench.reason("c0")["error_class"] == "UnfitError"


def test_copy_paste_gives_up_a_layout_without_a_nodule(
    make: Any, store: CaseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make("copy-paste")
    bare = reference_of(store, "c2").layout
    monkeypatch.setattr(bench.sampler._sampler, "_layout", lambda item, reference: bare)
    assert bench.draw("c2")["problem"].startswith(
        "case c2: its layout has no nodule; expected at least one voxel of it, for copy-paste draws "
        "nothing else."
    )


def test_crops_that_changed_since_the_plan_are_refused(
    store: CaseStore, ball_crops: Path, tmp_path: Path
) -> None:
    """Tissue alone is another plan, though shapes are the same."""
    import shutil

    path = Path(shutil.copy(ball_crops, tmp_path / "crops.npz"))
    bench = Bench(store, None, tmp_path / "lake", config_of("copy-paste"), path)
    write_crops(path, tissue=90)
    with pytest.raises(
        StoreError, match=r"crops\.npz: found a bank of digest .*; expected the plan"
    ):
        type(bench.sampler)(bench.sampler._settings)


def test_noise_has_the_mean_and_the_spread_of_the_donors_lungs(make: Any, store: CaseStore) -> None:
    bench = make("noise")
    bench.draw("c0")
    volume, reference = bench.volume("c0"), reference_of(store, "c0")
    lung = reference.ct[reference.layout == LUNG].astype(float)
    # Three standard errors of the least of the lungs, but for what is clipped at -1024 HU.
    found = volume.ct[volume.layout != BACKGROUND].astype(float)
    assert abs(found.mean() - lung.mean()) < 3 * lung.std() / np.sqrt(found.size) + 5
    assert found.std() == pytest.approx(lung.std(), rel=0.15)
    assert found.min() >= -1024


def test_noise_of_a_case_without_lungs_is_refused() -> None:
    layout = np.full((4, 4, 4), NODULE, np.uint8)
    volume = Volume(ct=np.zeros((4, 4, 4), np.int16), layout=layout, affine=np.eye(4))
    with pytest.raises(UnfitError, match=r"its layout has no lung; expected some, whose mean"):
        Noise().feed(volume, layout)


def test_copy_paste_needs_no_more_than_crops_and_the_layout(ball_crops: Path) -> None:
    layout = np.zeros((8, 8, 8), np.uint8)
    layout[2:6, 2:6, 2:6] = NODULE
    volume = Volume(ct=np.zeros((8, 8, 8), np.int16), layout=layout * 0, affine=np.eye(4))
    given = CopyPaste(load_crops(ball_crops)).feed(volume, layout)
    np.testing.assert_array_equal(given.drawn, layout == NODULE)
    # Metal in a nodule is no saturation: nothing is encoded and decoded.
    assert not given.scale.saturated(np.array([3000], np.int16)).any()


@pytest.mark.parametrize("name", ["lung-ddpm", "copy-paste"])
def test_a_rehearsal_of_any_draws_noise_and_is_rejected(make: Any, name: str) -> None:
    bench = make(name, rehearsal=True)
    bench.draw("c0")
    row = bench.row("c0")
    assert (row["sampler"], row["qc_verdict"]) == ("rehearsal", "reject")


def test_the_example_of_ones_own_draws(store: CaseStore) -> None:
    """As it stands on the page."""
    page = (Path(__file__).parents[3] / "docs" / "synthesizers.md").read_text()
    code = page.partition("```python\n")[2].partition("```")[0]
    names = {**vars(preprocessing), "Volume": Volume, "Prepared": Prepared}
    names |= {"HU_MIN": HU_MIN, "HU_MAX": HU_MAX}
    exec(code, names)
    made, reference = names["Blank"](), reference_of(store, "c0")
    prepared = Prepared(reference.layout, reference.affine, made.feed(reference, reference.layout))
    hu = made.draw(prepared, 0)
    inside = reference.layout != BACKGROUND
    assert hu.dtype == np.int16
    assert (hu[inside] == -850).all()
    np.testing.assert_array_equal(hu[~inside], reference.ct[~inside])
