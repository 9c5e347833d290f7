"""Evaluation: measure each volume once, then compare the sets.

sets      --> Ray Data: Measurer actors --> features.parquet, small rows
features  --> FID, MMD, pairs, memorisation, MDS --> figures.parquet, tables/, pictures
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from factory.counted import counted
from factory.errors import UsageError
from factory.evaluation.set_distances import LEAST_FOLDS
from jobs.console import say
from jobs.evaluate import similarity
from jobs.evaluate.extractors import INSTALL, Extractor, open_extractor
from jobs.evaluate.figures import (
    Figure,
    floor_figures,
    kernels_of,
    pair_figures_of,
    set_figures,
)
from jobs.evaluate.folder import claim_folder
from jobs.evaluate.given import Sets, find_sets
from jobs.evaluate.histogram_figures import histogram_figures
from jobs.evaluate.kept import Kept
from jobs.evaluate.measure import MeasureSettings
from jobs.evaluate.memorised import Row, memorisation_figures, memorisation_rows
from jobs.evaluate.names import check_names, default_name
from jobs.evaluate.outcome import Found, write_outcome
from jobs.evaluate.pictures import draw_all_pairs, draw_scaling
from jobs.evaluate.result import EvaluateResult
from jobs.evaluate.sides import Sides, measure_sets
from jobs.evaluate.slice_figures import slice_figures
from jobs.evaluate.slices import open_slice_extractor

NUM_FOLDS = 5
"""Where nothing else is said: as many as make an interval of few patients."""


@dataclass(slots=True)
class _Notes:
    """Sentences on what was not told, said once each and kept."""

    told: list[str] = field(default_factory=list)

    def tell(self, text: str) -> None:
        if text not in self.told:
            self.told.append(text)
            say(f"not told: {text}")


def evaluate(
    real: str,
    synthetic: str | Mapping[str, str],
    out: Path,
    *,
    weights: Path | None = None,
    weights_2d: Path | None = None,
    num_folds: int = NUM_FOLDS,
    device: str = "auto",
    ray_address: str | None = None,
) -> EvaluateResult:
    """Compare synthetic sets with a real one; run again, no volume is measured twice.

    Args:
        real: Manifest, case store or lake; its real rows count.
        synthetic: Manifest or lake, whose synthetic rows count, but those that quality control rejected;
            or a folder of NIfTI or MetaImage files made elsewhere. Several by their names.
        out: Folder for tables, pictures and what was measured; made.
        weights: `resnet_50.pth` of MedicalNet; None takes the fixed extractor.
        weights_2d: State of a 2-D ResNet-50, RadImageNet's or torchvision's, for the 2.5-D Fréchet
            distance; None for none.
        num_folds: Folds of the intervals, three or more, and no more than there are real patients; as many
            as `NUM_FOLDS` are always taken.
        device: `auto`, `cpu` or `cuda`.
        ray_address: Cluster to join; None starts one.

    Raises:
        FactoryError: A set cannot be read, or has too few volumes that can.
        UsageError: The folder has something else in it, or the folds are too few or too many.
        ManifestError: A manifest is torn.
    """
    places = {default_name(synthetic): synthetic} if isinstance(synthetic, str) else synthetic
    check_names(places)
    sets, notes = find_sets(real, places), _Notes()
    _check_folds(num_folds, sets)
    claim_folder(out)
    _tell_of_sets(sets)
    weights, weights_2d = (one.resolve() if one else None for one in (weights, weights_2d))
    extractor = _opened(weights, weights_2d)
    settings = _settings(weights, extractor, device)
    kept = Kept(out, extractor.name, extractor.num_features)
    sides = measure_sets(sets, kept, settings, ray_address)
    rows = {side.name: memorisation_rows(sides.real, side) for side in sides.synthetic}
    figures = list(_figures(sides, rows, extractor.name, num_folds, out, notes))
    if weights_2d:
        figures += slice_figures(
            sides,
            out,
            weights_2d,
            num_folds=num_folds,
            device=device,
            ray_address=ray_address,
            tell=notes.tell,
        )
    draw_all_pairs(sides, rows, out, notes.tell)
    found = Found(
        sets=sets,
        sides=sides,
        rows=rows,
        figures=figures,
        extractor=extractor,
        weights={"weights": settings.weights, "weights_2d": str(weights_2d or "")},
        num_folds=num_folds,
        not_told=notes.told,
    )
    return write_outcome(found, out)


def _check_folds(num_folds: int, sets: Sets) -> None:
    patients = len({item.patient_id for item in sets.real.items})
    most = max(patients, NUM_FOLDS)
    if not LEAST_FOLDS <= num_folds <= most:
        raise UsageError(
            f"--folds: found {num_folds}; expected {LEAST_FOLDS} to {most}, for folds are of patients and "
            f"--real {sets.real.place} has {patients}. Give fewer, or a larger set."
        )


def _opened(weights: Path | None, weights_2d: Path | None) -> Extractor:
    """Return the extractor; both files are read, and told, before hours of measuring and not after."""
    extractor = open_extractor(weights, "cpu")
    if weights:
        say(f"weights: {weights}, sha256 {extractor.digest}")
    if weights_2d:
        digest = open_slice_extractor(weights_2d, "cpu").digest
        say(f"weights of slices: {weights_2d}, sha256 {digest}")
    return extractor


def _settings(weights: Path | None, extractor: Extractor, device: str) -> MeasureSettings:
    return MeasureSettings(
        weights=str(weights or ""),
        digest=extractor.digest,
        # What is measured without MONAI lacks a figure: once it is installed, it is measured again.
        kept_as=f"{extractor.digest}, MS-SSIM: {similarity.is_available()}",
        device=device,
    )


def _tell_of_sets(sets: Sets) -> None:
    counts = " and ".join(
        f"{len(one.items)} of {one.name}" if len(sets.synthetic) > 1 else f"{len(one.items)}"
        for one in sets.synthetic
    )
    say(f"evaluate: {len(sets.real.items)} real and {counts} synthetic volumes")
    for one in (sets.real, *sets.synthetic):
        where = f"{one.name}: " if len(sets.synthetic) > 1 else ""
        if one.num_rejected:
            say(
                f"left out: {where}{counted(one.num_rejected, 'synthetic volume')} that quality control rejected"
            )
        for name, problem in one.misfits.items():
            say(f"left out: {where}{name}: {problem}")
        for note in one.notes:
            say(f"{one.name}: {note}")
    if not similarity.is_available():
        say(f"no MS-SSIM: MONAI is not installed. {INSTALL}")


def _figures(
    sides: Sides,
    rows: Mapping[str, list[Row]],
    extractor: str,
    num_folds: int,
    out: Path,
    notes: _Notes,
) -> Iterator[Figure]:
    kernels = kernels_of(sides.real, notes.tell)
    for side in sides.synthetic:
        where = f"{side.name}: " if len(sides.synthetic) > 1 else ""

        def tell(text: str, where: str = where) -> None:
            notes.tell(f"{where}{text}")

        yield from set_figures(sides.real, side, kernels, extractor, num_folds)
        yield from pair_figures_of(side)
        yield from memorisation_figures(sides.real, side, extractor, rows[side.name], tell)
        if without := sum(item.donor is None for item in side.items):
            tell(
                f"pairs: without a donor in either manifest: {counted(without, 'synthetic volume')}"
            )
    yield from floor_figures(sides.real, kernels, extractor, num_folds)
    yield from histogram_figures(sides.real, sides.synthetic, num_folds, notes.tell)
    yield from draw_scaling(sides.real, sides.synthetic, extractor, out, notes.tell)
