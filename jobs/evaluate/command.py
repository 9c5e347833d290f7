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
        list[options.Place] | None,
        typer.Option(
            metavar="[NAME=]LAKE|FILE|DIR",
            help="Lake or manifest, whose synthetic rows count, or a folder of NIfTI files made elsewhere; "
            "again for more sets. [lake]",
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
    weights_2d: Annotated[
        Path | None,
        typer.Option(
            "--weights-2d",
            metavar="PT",
            exists=True,
            dir_okay=False,
            help="2-D ResNet-50, RadImageNet's or torchvision's, for the 2.5-D FID too.",
        ),
    ] = None,
    folds: Annotated[
        int, typer.Option(metavar="K", min=3, help="Parts, by patient, that intervals come from.")
    ] = 5,
    device: options.DeviceOption = options.Device.auto,
    ray_address: options.RayAddress = None,
) -> None:
    """Measure how good synthetic sets are, and whether they copy.

    FID and MMD with a real-to-real floor, errors and MS-SSIM beside each
    volume's donor, nearest training lungs, a membership attack, and the sets in
    one picture; each figure with its 95 % interval. Without --weights features
    are of a fixed random network: comparable with each other, with no published
    figure. Run again, no volume is measured twice.

    \b
    Example:
        factory evaluate --real cases --synthetic lake --out evaluation
        factory evaluate --real cases --synthetic ours=lake --synthetic maisi=nifti/ --out evaluation
    """
    from jobs.console import give, say
    from jobs.evaluate.job import evaluate
    from jobs.evaluate.names import parse_sets
    from jobs.evaluate.telling import lines_of
    from jobs.workspace import path_of, place_of

    sets = parse_sets(synthetic or [place_of("lake", None)])
    result = evaluate(
        place_of("cases", real),
        {name: place_of("lake", place) for name, place in sets.items()},
        path_of("out", out),
        weights=weights,
        weights_2d=weights_2d,
        num_folds=folds,
        device=device.value,
        ray_address=ray_address,
    )
    for line in lines_of(result, str(out)):
        say(line)
    for table in filter(None, (result.table, result.ablations)):
        give(table)
