"""The command's last line names what to do next, and how to keep copies out of it."""

import shlex

import pytest

from factory.evaluation.intervals import Interval
from jobs.evaluate.figures import Figure
from jobs.evaluate.result import EvaluateResult, SetResult
from jobs.evaluate.telling import lines_of


def found(name: str, copies: int) -> tuple[SetResult, Figure]:
    verdicts = {"copy": copies, "near": 0, "clear": 4 - copies, "unknown": 0}
    one = SetResult(
        name=name,
        place=f"{name}-lake",
        num_volumes=4,
        num_rejected=0,
        verdicts=verdicts,
        is_foreign=False,
    )
    figure = Figure(
        of=name,
        name="fid",
        region="lungs",
        extractor="net",
        interval=Interval(1.0, 0.5, 1.5),
        n=4,
        note="",
    )
    return one, figure


@pytest.mark.parametrize(
    ("copies", "flag"), [(0, ""), (1, " --without-copies out/memorisation.parquet")]
)
@pytest.mark.parametrize("num_sets", [1, 2])
def test_the_next_mix_leaves_out_the_copies_that_were_found(
    copies: int, flag: str, num_sets: int
) -> None:
    sets, figures = zip(*(found(f"s{i}", copies) for i in range(num_sets)), strict=True)
    result = EvaluateResult("table2.md", "net", figures, 5, sets, 0)
    *_, last = lines_of(result, "out")
    assert last.endswith(f". Next: factory mix s0-lake --ratio 0.25{flag} --out mix.parquet")


def test_what_is_next_can_be_pasted_whatever_folders_are_called() -> None:
    one, figure = found("my set", 1)
    *_, last = lines_of(EvaluateResult("table2.md", "net", [figure], 5, [one], 0), "out of it")
    words = shlex.split(last.partition("Next: ")[2])
    assert words[:3] == ["factory", "mix", "my set-lake"]
    assert "out of it/memorisation.parquet" in words
