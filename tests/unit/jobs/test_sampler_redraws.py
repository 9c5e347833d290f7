"""What quality control rejects is drawn again, and all of it is told."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sampler_bench import (
    CONFIG,
    MakeBench,
)

from jobs.generate.synthesizers import lung_ddpm


def test_a_rejected_volume_is_drawn_again_with_another_seed_and_all_of_it_is_told(
    make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make_bench(config=replace(CONFIG, max_redraws=2))
    assess, seen = bench.sampler._sampler.assess, []

    def reject_twice(item: Any, prepared: Any, hu: Any) -> Any:
        seen.append(hu.copy())
        quality = assess(item, prepared, hu)
        return replace(quality, background_changed=int(len(seen) < 3), lung_median_hu=-800.0)

    monkeypatch.setattr(bench.sampler._sampler, "assess", reject_twice)
    assert bench.draw("c0")["committed"]
    row = bench.row("c0")
    assert [redraw["verdict"] for redraw in row["redraws"]] == ["reject", "reject"]
    assert "background has 1 voxel unlike" in row["redraws"][0]["reasons"][0]
    seeds = [redraw["seed"] for redraw in row["redraws"]] + [row["seed"]]
    assert seeds[0] == bench.items["c0"].seed
    assert len(set(seeds)) == 3
    assert row["qc_verdict"] != "reject"
    np.testing.assert_array_equal(bench.volume("c0").ct, seen[2])
    assert not (seen[0] == seen[1]).all()


def test_redraws_end_and_the_last_volume_stands_rejected(
    make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make_bench(config=replace(CONFIG, max_redraws=1))
    assess = bench.sampler._sampler.assess
    monkeypatch.setattr(
        bench.sampler._sampler,
        "assess",
        lambda *given: replace(assess(*given), background_changed=1),
    )
    assert bench.draw("c0")["committed"]
    assert len(bench.row("c0")["redraws"]) == 1
    assert bench.row("c0")["qc_verdict"] == "reject"


def test_a_rehearsed_volume_is_noise_of_its_seed_and_rejected(make_bench: MakeBench) -> None:
    config = replace(CONFIG, rehearsal=True)
    one, other = make_bench("one", config), make_bench("other", config)
    assert one.draw("c0")["committed"]
    assert other.draw("c0")["committed"]
    np.testing.assert_array_equal(one.volume("c0").ct, other.volume("c0").ct)
    row = one.row("c0")
    assert (row["sampler"], row["qc_verdict"]) == ("rehearsal", "reject")
    assert row["qc_reasons"] == ["drawn in a rehearsal, without the network"]
    assert row["qc_background_equal"]


@pytest.mark.parametrize(("redraws", "committed"), [(1, True), (0, False)])
def test_a_volume_that_is_no_number_is_drawn_again_or_given_up_but_never_written(
    make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch, redraws: int, committed: bool
) -> None:
    bench = make_bench(config=replace(CONFIG, max_redraws=redraws))
    drawn = lung_ddpm.aas_sample
    left = [1]

    def once_not_finite(*given: Any, **options: Any) -> Any:
        x_0 = drawn(*given, **options)
        if left:
            left.pop()
            x_0[:] = float("nan")
        return x_0

    monkeypatch.setattr(lung_ddpm, "aas_sample", once_not_finite)
    row = bench.draw("c0")
    assert row["committed"] is committed
    if committed:
        (redraw,) = bench.row("c0")["redraws"]
        assert "NaN or infinity" in redraw["reasons"][0]
    else:
        assert "NaN or infinity" in row["problem"]
        assert bench.lake.storage.names("volumes") == []
