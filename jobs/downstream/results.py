"""What one finished run leaves in its folder, and how it is read back.

RUN/cases.parquet      a row a test case
RUN/nodules.parquet    a row a nodule of a test case
RUN/result.json        how it was made; written last: a run without it is not finished
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from factory.errors import StoreError
from factory.segmentation.score import CaseScore
from factory.segmentation.trials import Trial
from factory.storage import Storage
from jobs.downstream.case_tables import check_size, read_cases, torn, write_cases

RESULT = "result.json"

_LARGEST = 1e300
_COUNTS = ("num_real", "num_synthetic")
_KINDS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("digest", "manifest", "label", "network"), str),
    **dict.fromkeys(("seed", "fold", "num_parameters", "steps", "num_cases"), int),
    "config": dict,
    "mix": dict,
    "left_out": dict,
    "seconds": (int, float),
    "loss": list,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """A finished run."""

    folder: Path
    config: Mapping[str, Any]
    """Settings that its figures depend on."""
    digest: str
    """Of all that its figures depend on."""
    seed: int
    fold: int
    manifest: str
    """Path or URL."""
    label: str
    """What tables call its mix."""
    mix: Mapping[str, int]
    """`num_real` and `num_synthetic` volumes that it was trained on."""
    network: str
    num_parameters: int
    steps: int
    seconds: float
    loss: tuple[float, ...]
    """Of training, in order; of long runs means over equal stretches."""
    left_out: Mapping[str, str]
    """Volumes that it was planned with and could not use, and why."""
    cases: tuple[CaseScore, ...]
    """Test cases."""

    @property
    def num_real(self) -> int:
        """Real volumes that it was trained on."""
        return self.mix["num_real"]

    @property
    def num_synthetic(self) -> int:
        """Synthetic volumes that it was trained on."""
        return self.mix["num_synthetic"]

    @property
    def trial(self) -> Trial:
        """Its scores, as summaries take them."""
        return Trial(seed=self.seed, fold=self.fold, cases=self.cases)


def write_run(
    folder: Path,
    cases: Sequence[CaseScore],
    *,
    config: Mapping[str, Any],
    digest: str,
    seed: int,
    fold: int,
    manifest: str,
    label: str,
    mix: Mapping[str, int],
    network: str,
    num_parameters: int,
    steps: int,
    seconds: float,
    loss: Sequence[float],
    left_out: Mapping[str, str] | None = None,
) -> None:
    """Write a run's tables, and then `result.json`, which makes it a finished one.

    Args:
        folder: Of the run; made.
        cases: Scores of the test cases, one each.
        config: Settings that the figures depend on, as plain JSON.
        digest: Of all that the figures depend on.
        seed: Of the training.
        fold: Number of the fold.
        manifest: Path or URL.
        label: What tables call the mix.
        mix: `num_real` and `num_synthetic` volumes that were trained on.
        network: Name of the network.
        num_parameters: Of it.
        steps: That were taken.
        seconds: That training and test took.
        loss: Of training, in order.
        left_out: Volumes that could not be used, and why.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_cases(folder, cases, mix=label, seed=seed, fold=fold)
    content = {
        "config": dict(config),
        "digest": digest,
        "seed": seed,
        "fold": fold,
        "manifest": manifest,
        "label": label,
        "mix": {name: mix[name] for name in _COUNTS},
        "network": network,
        "num_parameters": num_parameters,
        "steps": steps,
        "seconds": round(seconds, 3),
        "loss": [one if math.isfinite(one) else None for one in loss],
        "num_cases": len(cases),
        "left_out": dict(left_out or {}),
    }
    Storage(folder).write_json(RESULT, content)


def read_run(folder: Path) -> Run:
    """Read a finished run.

    Args:
        folder: Of the run.

    Raises:
        StoreError: It is not finished, or a file of it is torn or not of the others.
    """
    told = _read_result(folder)
    cases = read_cases(folder, mix=told["label"], seed=told["seed"], fold=told["fold"])
    if len(cases) != told["num_cases"]:
        raise torn(folder, f"{len(cases)} cases, where {RESULT} has {told['num_cases']}")
    known = {name: told[name] for name in _KINDS if name != "num_cases"}
    loss = tuple(math.nan if one is None else float(one) for one in told["loss"])
    return Run(**known | {"folder": folder, "cases": cases, "loss": loss})


def _read_result(folder: Path) -> dict[str, Any]:
    path = folder / RESULT
    try:
        check_size(path)
        told = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise StoreError(
            f"run {folder}: there is no {RESULT}; expected a finished run. Run the command that makes it "
            "again."
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise torn(path, f"no JSON ({error})") from error
    if not isinstance(told, dict):
        raise torn(path, f"{type(told).__name__}, no object")
    for name, kind in _KINDS.items():
        if not isinstance(told.get(name), kind) or isinstance(told[name], bool):
            raise torn(path, f"{name} {str(told.get(name, 'missing'))[:100]!r}")
    if set(told["mix"]) != set(_COUNTS) or not _are_counts(told["mix"].values()):
        raise torn(path, f"a mix of {str(told['mix'])[:100]}")
    if not all(isinstance(why, str) for why in told["left_out"].values()):
        raise torn(path, "reasons of what was left out that are no text")
    if not all(one is None or _is_number(one) for one in told["loss"]):
        raise torn(path, "a loss that is no number")
    return told


def _are_counts(values: Iterable[Any]) -> bool:
    return all(isinstance(one, int) and not isinstance(one, bool) and one >= 0 for one in values)


def _is_number(value: Any) -> bool:
    # Python's whole numbers have no end, and a float does not hold them.
    return isinstance(value, int | float) and abs(value) <= _LARGEST
