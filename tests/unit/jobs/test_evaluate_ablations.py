"""Which ablation a lake is, by its own record."""

import json
from pathlib import Path
from typing import Any

import pytest

from factory.evaluation.intervals import Interval
from jobs.evaluate.ablations import ABLATIONS, ablation_of, ablations_of
from jobs.evaluate.figures import Figure
from jobs.evaluate.given import GivenSet
from jobs.evaluate.tables import table4


def given(name: str = "lake", identity: dict[str, Any] | None = None) -> GivenSet:
    return GivenSet(name=name, place=name, items=[], misfits={}, identity=identity or {})


def model(folder: Path, labels: list[str], digest: str = "d1") -> str:
    folder.mkdir()
    fed = {"hu_window": [-1024.0, 600.0], "labels": labels}
    card = {"digest": digest, "preprocessing": fed}
    (folder / "model.json").write_text(json.dumps(card))
    return str(folder)


def drawn(place: str, synthesizer: str | None, digest: str = "d1") -> dict[str, Any]:
    config = {"synthesizer": synthesizer} if synthesizer else {}
    return {"kind": "lake", "config": config, "model": place, "settings": {"model": digest}}


@pytest.mark.parametrize(
    ("synthesizer", "labels", "expected"),
    [
        ("lung-ddpm", ["lung", "nodule"], "full"),
        ("med-ddpm", ["lung", "nodule"], "no-aas"),
        ("lung-ddpm", ["nodule"], "no-lung-layout"),
        ("med-ddpm", ["nodule"], "no-both"),
        # Lakes of before there was a choice.
        (None, ["lung", "nodule"], "full"),
    ],
)
def test_a_lake_says_by_synthesizer_and_labels_which_ablation_it_is(
    synthesizer: str | None, labels: list[str], expected: str, tmp_path: Path
) -> None:
    place = model(tmp_path / "model", labels)
    assert ablation_of(given(identity=drawn(place, synthesizer))) == expected


def test_what_a_lake_says_goes_before_its_name(tmp_path: Path) -> None:
    place = model(tmp_path / "model", ["lung", "nodule"])
    assert ablation_of(given("no-both", drawn(place, "med-ddpm"))) == "no-aas"


def test_the_model_that_ships_is_known_by_its_name() -> None:
    from models.weights import NAMES, shipped

    card = json.loads((shipped(NAMES[0]) / "model.json").read_text())
    assert ablation_of(given(identity=drawn(NAMES[0], None, card["digest"]))) == "full"


@pytest.mark.parametrize("synthesizer", ["copy-paste", "noise"])
def test_other_synthesizers_are_no_ablation(synthesizer: str, tmp_path: Path) -> None:
    place = model(tmp_path / "model", ["lung", "nodule"])
    assert ablation_of(given("no-aas", drawn(place, synthesizer))) is None


def test_without_a_record_the_name_of_the_set_tells() -> None:
    assert ablation_of(given("ablation-no-aas")) == "no-aas"
    assert ablation_of(given("No-Both")) == "no-both"
    assert ablation_of(given("maisi")) is None


@pytest.mark.parametrize(
    "content", ["", "[1]", '{"digest": "d1"}', '{"digest": "d1", "preprocessing": {"labels": 3}}']
)
def test_a_model_that_is_gone_torn_or_another_one_leaves_it_to_the_name(
    content: str, tmp_path: Path
) -> None:
    torn = tmp_path / "torn"
    torn.mkdir()
    (torn / "model.json").write_text(content)
    assert ablation_of(given(identity=drawn(str(torn), "med-ddpm"))) is None
    assert ablation_of(given(identity=drawn(str(tmp_path / "gone"), "med-ddpm"))) is None
    other = model(tmp_path / "other", ["nodule"], digest="d2")
    assert ablation_of(given("no-aas", drawn(other, "med-ddpm"))) == "no-aas"


def test_the_full_model_alone_makes_no_table() -> None:
    assert ablations_of([given("full"), given("maisi")]) == {}
    sets = [given("full"), given("no-aas"), given("maisi")]
    assert ablations_of(sets) == {"full": "full", "no-aas": "no-aas"}


def test_the_table_has_all_four_in_the_papers_order_and_invents_no_figure() -> None:
    figures = [
        figure("theirs", "fid", "lungs", 0.25),
        figure("ours", "fid", "lungs", 0.125),
        figure("maisi", "fid", "lungs", 0.5),
        figure("real", "fid_real_to_real", "lungs", 0.0625),
    ]
    page = table4(figures, {"theirs": "no-aas", "ours": "full"}, "net", grid=(64, 64, 64))
    lines = [line for line in page.splitlines() if line.startswith("|")][2:]
    names = [line.split(" | ")[0].strip("| ") for line in lines]
    assert list(dict.fromkeys(names)) == [*ABLATIONS.values(), "real against real"]
    assert "| Lung-DDPM | ours | lungs | 8 | 0.125 | - | - | not known |" in lines
    assert "| without AAS | theirs | lungs | 8 | 0.25 | - | - | not known |" in lines
    assert "| without both | no set given | - | - | - | - | - | not known |" in lines
    assert "| real against real | real | lungs | 8 | 0.0625 | - | - |  |" in lines
    assert "maisi" not in page


def figure(of: str, name: str, region: str, value: float) -> Figure:
    nan = float("nan")
    interval = Interval(value, nan, nan)
    return Figure(of=of, name=name, region=region, extractor="net", interval=interval, n=8, note="")
