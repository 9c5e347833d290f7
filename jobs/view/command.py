"""`factory view`."""

from typing import Annotated

import typer

from jobs import options


def command(
    lake: Annotated[
        options.Place | None,
        typer.Argument(
            metavar="[LAKE|CASES|FILE]",
            help="Lake, case store, or manifest such as that of a mix. [lake]",
        ),
    ] = None,
    port: Annotated[
        int,
        typer.Option(metavar="N", min=0, max=65535, help="Port to serve on; 0 takes a free one."),
    ] = 0,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Print the address, and open no browser.")
    ] = False,
) -> None:
    """Look at volumes in a browser: three planes, layouts, and their donors.

    Serves on 127.0.0.1 alone, until Ctrl-C, under an address that holds a
    secret of this run. It shows real scans: whoever is given the address on
    this machine sees them.

    \b
    Example:
        factory view lake
    """
    from jobs.view.job import view
    from jobs.workspace import place_of

    view(place_of("lake", lake), port=port, opens_browser=not no_browser)
