"""What the command says at its end, to people."""

from collections.abc import Iterator

from factory.counted import counted
from jobs.console import command_line, ending
from jobs.evaluate.names import REAL
from jobs.evaluate.result import EvaluateResult


def lines_of(result: EvaluateResult, out: str) -> Iterator[str]:
    """Yield the verdicts and the distance of each set, and what to do next."""
    told = {(one.of, one.name, one.region): one.interval for one in result.figures}
    floor = told.get((REAL, "fid_real_to_real", "lungs"))
    beside = f", real against real {floor}" if floor else ""
    is_one = len(result.sets) == 1
    pictures = "worst_pairs.png" if is_one else "worst_pairs-NAME.png"
    for one in result.sets:
        words = ", ".join(f"{count} {word}" for word, count in one.verdicts.items() if count)
        where = "" if is_one else f"{one.name}: "
        yield f"{where}memorisation: {words}; see {out}/memorisation.parquet and {pictures}"
    left_out = f"{result.num_left_out} left out"
    for one in result.sets:
        where, there = ("", f", {left_out}") if is_one else (f"{one.name}: ", "")
        came_out = (
            f"{where}{one.num_volumes} synthetic against {counted(result.num_real, 'real volume')}{there}; "
            f"{result.extractor}: FID of the lungs {told[one.name, 'fid', 'lungs']}{beside}"
        )
        yield ending(came_out, _next(result, out)) if is_one else came_out
    if not is_one:
        yield ending(f"{left_out} of all sets", _next(result, out))


def _next(result: EvaluateResult, out: str) -> str:
    one = next((one for one in result.sets if not one.is_foreign), None)
    if not one:
        return f"look at {out}/worst_pairs{'' if len(result.sets) == 1 else '-NAME'}.png"
    judged = f"{out}/memorisation.parquet" if one.verdicts["copy"] else None
    flags = {"--ratio": 0.25, "--without-copies": judged, "--out": "mix.parquet"}
    return command_line("factory mix", one.place, flags=flags)
