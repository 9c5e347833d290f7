"""`factory export`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from jobs import options
from jobs.mix import Verdict


class FormatName(StrEnum):
    """What the files are for."""

    nifti = "nifti"
    nnunet = "nnunet"
    monai = "monai"
    hf = "hf"


class Split(StrEnum):
    """Volumes of which split."""

    train = "train"
    val = "val"
    test = "test"


def command(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder to make, or to go on with.")],
    kind: Annotated[
        FormatName,
        typer.Option("--format", help="nnunet: a raw dataset of v2; hf: a Hugging Face dataset."),
    ],
    source: Annotated[
        options.Place | None,
        typer.Argument(metavar="[LAKE|MIX]", help="Lake, case store or manifest. [lake]"),
    ] = None,
    native: Annotated[
        bool,
        typer.Option(
            "--native", help="On the grid of the scan that was ingested, which must still be there."
        ),
    ] = False,
    split: Annotated[
        list[Split] | None,
        typer.Option(metavar="train|val|test", help="Again for more than one. [all]"),
    ] = None,
    min_verdict: Annotated[
        Verdict,
        typer.Option(help="Least verdict of quality control; rejected volumes are never written."),
    ] = Verdict.review,
    license: Annotated[
        str, typer.Option(metavar="SPDX", help="Licence of the data, as CC-BY-4.0.")
    ] = "unknown",
    private: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="With --native: private folder of the case store, which leads to DICOM. [beside it]",
        ),
    ] = None,
    ray_address: options.RayAddress = None,
) -> None:
    """Write volumes as files that other tools read, with their layouts.

    NIfTI in HU with its affine, an nnU-Net dataset with folds by patient, a
    MONAI datalist, or a Hugging Face folder with card and Croissant. With
    --native what was drawn is put back into the scan's own grid, and all else
    is the scan. Patients are not anonymised. Run again, it does what is missing.

    \b
    Example:
        factory export lake --format nifti --out nifti
        factory export mix-25.parquet --format nnunet --out nnUNet_raw/Dataset501_Mix25
    """
    from jobs.console import conclude, give, say
    from jobs.export.job import export
    from jobs.export.telling import came_out, lines_of
    from jobs.workspace import path_of, place_of

    result = export(
        place_of("lake", source),
        path_of("out", out),
        kind.value,
        native=native,
        splits=[one.value for one in split or ()],
        min_verdict=min_verdict.value,
        license=license,
        private=private,
        ray_address=ray_address,
    )
    for line in lines_of(result):
        say(line)
    conclude(came_out(result), result.next_step)
    give(str(result.begin))
