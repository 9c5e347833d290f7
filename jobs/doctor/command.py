"""`factory doctor`."""

from typing import Annotated

import typer

from jobs import options


def command(
    cases: Annotated[
        options.Place | None,
        typer.Option(metavar="CASES", help="Case store to read. [factory.toml's, if it has one]"),
    ] = None,
    out: Annotated[
        options.Place | None,
        typer.Option(
            metavar="DIR|URL",
            help="Where volumes will be written; a small file is, and removed. [factory.toml's lake, or .]",
        ),
    ] = None,
    model: Annotated[
        options.Place,
        typer.Option(metavar="RUN|MODEL|NAME", help="Model to time; demo is one that ships."),
    ] = "demo",
    device: options.DeviceOption = options.Device.auto,
    ray_address: options.RayAddress = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")] = False,
) -> None:
    """Tell whether this machine is fit, and what to do where it is not.

    Looks at Python and packages, CPUs, memory and limits, torch, GPUs and
    attention, Ray, and the places for cases and volumes; draws for five seconds
    with as many actors as generate starts, and estimates volumes an hour. A bucket's credentials come from the
    environment, and no secret is printed. Ends with 1 where there is a problem.

    \b
    Example:
        factory doctor
        factory doctor --out s3://bucket/lake --device cuda --json
    """
    from jobs.console import conclude, give
    from jobs.doctor.asked import Asked
    from jobs.doctor.finding import Verdict
    from jobs.doctor.job import examine
    from jobs.doctor.telling import report_text, summary, tell
    from jobs.workspace import is_named, place_of

    asked = Asked(
        cases=place_of("cases", cases) if cases or is_named("cases") else None,
        out=place_of("lake", out) if out or is_named("lake") else ".",
        model=place_of("model", model),
        device=device.value,
        ray_address=ray_address,
    )
    findings = list(examine(asked))
    if json:
        give(report_text(findings))
    else:
        tell(findings)
    conclude(*summary(findings))
    if any(one.verdict is Verdict.problem for one in findings):
        raise typer.Exit(1)
