"""`factory evaluate`."""

from pathlib import Path
from typing import Annotated

import typer

from jobs import options


def command(
    real: Annotated[
        options.Place | None,
        typer.Option(
            metavar="CASES|FILE", help="Case store or manifest; its real rows count. [cases]"
        ),
    ] = None,
    synthetic: Annotated[
        options.Place | None,
        typer.Option(
            metavar="LAKE|FILE", help="Lake or manifest; its synthetic rows count. [lake]"
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder for tables, pictures and features.")
    ] = Path("evaluation"),
    weights: Annotated[
        Path | None,
        typer.Option(
            metavar="PTH",
            exists=True,
            dir_okay=False,
            help="resnet_50.pth of MedicalNet, for figures on the published scale; else a fixed network.",
        ),
    ] = None,
    folds: Annotated[
        int, typer.Option(metavar="K", min=3, help="Parts, by patient, that intervals come from.")
    ] = 5,
    device: options.DeviceOption = options.Device.auto,
    ray_address: options.RayAddress = None,
) -> None:
    """Measure how good a synthetic set is, and whether it copies.

    FID and MMD with a real-to-real floor, errors and MS-SSIM beside each
    volume's donor, nearest training lungs, a membership attack, and the sets in
    one picture; each figure with its 95 % interval. Without --weights features
    are of a fixed random network: comparable with each other, with no published
    figure. Run again, no volume is measured twice.

    \b
    Example:
        factory evaluate --real cases --synthetic lake --out evaluation
    """
    from jobs.console import give, say
    from jobs.evaluate.job import evaluate
    from jobs.workspace import path_of, place_of

    result = evaluate(
        place_of("cases", real),
        place_of("lake", synthetic),
        path_of("out", out),
        weights=weights,
        num_folds=folds,
        device=device.value,
        ray_address=ray_address,
    )
    words = ", ".join(f"{count} {word}" for word, count in result.verdicts.items() if count)
    say(f"memorisation: {words}; see {out}/memorisation.parquet and worst_pairs.png")
    told = {(figure.name, figure.region): figure.interval for figure in result.figures}
    floor = told.get(("fid_real_to_real", "lungs"))
    beside = f", real against real {floor}" if floor else ""
    say(
        f"{result.num_synthetic} synthetic against {result.num_real} real volumes, {result.num_left_out} left "
        f"out; {result.extractor}: FID of the lungs {told['fid', 'lungs']}{beside}. Next: "
        f"factory mix {synthetic or 'lake'} --ratio 0.25 --out mix.parquet"
    )
    give(result.table)
