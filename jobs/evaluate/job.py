"""Evaluation: measure each volume once, then compare the sets.

manifests --> Ray Data: Measurer actors --> features.parquet, small rows
features  --> FID, MMD, pairs, memorisation, MDS --> figures.parquet, tables/table2.md, pictures
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from factory.errors import UsageError
from jobs.cluster import connect
from jobs.console import progress, say
from jobs.evaluate import similarity
from jobs.evaluate.extractors import INSTALL, Extractor, open_extractor
from jobs.evaluate.figures import Figure, Side, pair_figures_of, set_figures
from jobs.evaluate.given import Item, Sets, find_sets
from jobs.evaluate.kept import Kept
from jobs.evaluate.measure import MeasureSettings
from jobs.evaluate.memorised import Row, memorisation_figures, memorisation_rows
from jobs.evaluate.pictures import draw_scaling, draw_worst_pairs
from jobs.evaluate.stream import stream
from jobs.evaluate.tables import (
    FIGURES_SCHEMA,
    MEMORISATION_SCHEMA,
    as_json,
    figure_row,
    table2,
    write_parquet,
    write_text,
)

_LEAST = 2
"""Volumes of a set: fewer have no covariance."""


@dataclass(frozen=True, slots=True)
class EvaluateResult:
    """What an evaluation left in its folder."""

    table: str
    """Path of tables/table2.md."""
    extractor: str
    figures: Sequence[Figure]
    num_real: int
    num_synthetic: int
    num_left_out: int
    """Volumes that could not be read or measured, or are on another grid."""
    verdicts: Mapping[str, int]
    """Synthetic volumes by verdict of memorisation."""


@dataclass(slots=True)
class _Notes:
    """Sentences on what was not told, said once each and kept."""

    told: list[str] = field(default_factory=list)

    def tell(self, text: str) -> None:
        self.told.append(text)
        say(f"not told: {text}")


def evaluate(
    real: str,
    synthetic: str,
    out: Path,
    *,
    weights: Path | None = None,
    num_folds: int = 5,
    device: str = "auto",
    ray_address: str | None = None,
) -> EvaluateResult:
    """Compare a synthetic set with a real one; run again, no volume is measured twice.

    Args:
        real: Manifest, case store or lake; its real rows count.
        synthetic: Manifest or lake; its synthetic rows count, but those that quality control rejected.
        out: Folder for tables, pictures and what was measured; made.
        weights: `resnet_50.pth` of MedicalNet; None takes the fixed extractor.
        num_folds: Folds of the intervals, three or more.
        device: `auto`, `cpu` or `cuda`.
        ray_address: Cluster to join; None starts one.

    Raises:
        FactoryError: A set cannot be read, or has too few volumes that can.
        ManifestError: A manifest, or features.parquet, is torn.
    """
    sets, notes = find_sets(real, synthetic), _Notes()
    _tell_of_sets(sets)
    weights = weights.resolve() if weights else None
    extractor = open_extractor(weights, "cpu")
    if weights:
        say(f"weights: {weights}, sha256 {extractor.digest}")
    settings = MeasureSettings(
        weights=str(weights or ""),
        digest=extractor.digest,
        kept_as=_kept_as(extractor),
        device=device,
    )
    out.mkdir(parents=True, exist_ok=True)
    ours, drawn, left_out = _sides(sets, Kept(out, extractor.name), settings, ray_address)
    rows = memorisation_rows(ours, drawn)
    figures = _figures(ours, drawn, rows, extractor.name, num_folds, out, notes)
    result = EvaluateResult(
        table=str(out / "tables" / "table2.md"),
        extractor=extractor.name,
        figures=figures,
        num_real=len(ours.items),
        num_synthetic=len(drawn.items),
        num_left_out=len(left_out),
        verdicts=_counted(rows),
    )
    told = {
        "given": {"real": real, "synthetic": synthetic, "folds": num_folds},
        "extractor": {
            "name": extractor.name,
            "sha256": extractor.digest,
            "weights": settings.weights,
        },
        "grid": list(sets.shape),
        "num_rejected_by_quality_control": sets.num_rejected,
        "left_out": left_out,
        "not_told": notes.told,
    }
    page = table2(figures, extractor.name, is_published=extractor.is_published, grid=sets.shape)
    write_parquet([figure_row(one) for one in figures], FIGURES_SCHEMA, out / "figures.parquet")
    write_parquet(rows, MEMORISATION_SCHEMA, out / "memorisation.parquet")
    write_text(as_json(told | _record(result)), out / "evaluation.json")
    write_text(page, Path(result.table))
    return result


def _kept_as(extractor: Extractor) -> str:
    # What is measured without MONAI lacks a figure: once it is installed, it is measured again.
    return f"{extractor.digest}, MS-SSIM: {similarity.is_available()}"


def _tell_of_sets(sets: Sets) -> None:
    say(f"evaluate: {len(sets.real)} real and {len(sets.synthetic)} synthetic volumes")
    if sets.num_rejected:
        say(f"left out: {sets.num_rejected} synthetic volumes that quality control rejected")
    for name, problem in sets.misfits.items():
        say(f"left out: {name}: {problem}")
    if not similarity.is_available():
        say(f"no MS-SSIM: MONAI is not installed. {INSTALL}")


def _sides(
    sets: Sets, kept: Kept, settings: MeasureSettings, ray_address: str | None
) -> tuple[Side, Side, dict[str, str]]:
    """Measure both sets; return what could be of each, and what was left out with its reason.

    Raises:
        UsageError: Too few volumes of a set are left.
    """
    broken = _measure([*sets.real, *sets.synthetic], kept, settings, ray_address)
    left_out = {**sets.misfits, **broken}
    ours, drawn = (_side(items, kept, settings.kept_as) for items in (sets.real, sets.synthetic))
    for kind, side in {"real": ours, "synthetic": drawn}.items():
        if len(side.items) < _LEAST:
            first = next((f"; left out: {name}: {why}" for name, why in left_out.items()), "")
            raise UsageError(
                f"--{kind}: found {len(side.items)} usable volumes{first}; expected {_LEAST} or more. Give a "
                "larger set, or mend it."
            )
    return ours, drawn, left_out


def _measure(
    items: Sequence[Item], kept: Kept, settings: MeasureSettings, ray_address: str | None
) -> dict[str, str]:
    """Measure what was not; return the names of broken volumes, and what was wrong with each."""
    todo = {item.key(settings.kept_as): item for item in items}
    total = len(todo)
    todo = {key: item for key, item in todo.items() if key not in kept}
    if not todo:
        return {}
    if len(todo) < total:
        say(f"resuming: {total - len(todo)} of {total} volumes are measured, {len(todo)} to do")
    broken: dict[str, str] = {}
    with connect(ray_address) as cluster:
        on = "cuda" if cluster.use_gpu(settings.device) else "cpu"
        try:
            with progress("measure volumes", len(todo)) as tracker:
                rows = stream(list(todo.values()), replace(settings, device=on), cluster)
                for done, row in enumerate(rows, start=1):
                    _take(row, todo[row["key"]], kept, broken)
                    tracker.update(done, f"{len(broken)} broken" if broken else "")
        finally:
            kept.write()
    return broken


def _take(row: Row, item: Item, kept: Kept, broken: dict[str, str]) -> None:
    if row["problem"]:
        broken[item.name] = row["problem"]
        say(f"left out: {item.name}: {row['problem']}")
    else:
        kept.add(row, item.name)


def _side(items: Sequence[Item], kept: Kept, kept_as: str) -> Side:
    there = [item for item in items if item.key(kept_as) in kept]
    return Side(there, [kept[item.key(kept_as)] for item in there])


def _figures(
    real: Side,
    synthetic: Side,
    rows: list[Row],
    extractor: str,
    num_folds: int,
    out: Path,
    notes: _Notes,
) -> list[Figure]:
    found = [
        *set_figures(real, synthetic, extractor, num_folds, notes.tell),
        *pair_figures_of(synthetic),
        *memorisation_figures(real, synthetic, extractor, rows, notes.tell),
        *draw_scaling(real, synthetic, extractor, out),
    ]
    without = sum(item.donor is None for item in synthetic.items)
    if without:
        notes.tell(f"pairs: {without} synthetic volumes have no donor in either manifest")
    draw_worst_pairs(real, synthetic, rows, out / "worst_pairs.png")
    return found


def _counted(rows: Sequence[Row]) -> dict[str, int]:
    words = [row["verdict"] for row in rows]
    return {word: words.count(word) for word in ("copy", "near", "clear", "unknown")}


def _record(result: EvaluateResult) -> dict[str, Any]:
    """Return what `evaluation.json` says of the result."""
    return {
        "num_real": result.num_real,
        "num_synthetic": result.num_synthetic,
        "verdicts": dict(result.verdicts),
        "figures": [figure_row(figure) for figure in result.figures],
        "versions": {name: version(name) for name in ("ct-factory", "torch", "numpy", "scipy")},
    }
