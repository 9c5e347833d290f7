"""Volumes in a browser, without Ray.

place --open_catalog--> rows --Site--> answers --Server--> 127.0.0.1
"""

import os
import sys
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager

from factory.counted import counted
from jobs.console import command_line, conclude, give, say
from jobs.view.catalog import open_catalog
from jobs.view.server import Server
from jobs.view.site import Site
from jobs.workspace import from_here

_SCREENS = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")


def view(place: str, *, port: int, opens_browser: bool) -> None:
    """Serve a place to a browser of this machine until it is interrupted.

    Args:
        place: Path or URL of a lake, a case store, or a manifest.
        port: Of 127.0.0.1; 0 takes a free one.
        opens_browser: Whether to open one; without a screen none is.

    Raises:
        StoreError: The place is none of them, or is not finished.
        ManifestError: The manifest is missing or torn.
        UsageError: The port cannot be had.
    """
    catalog = open_catalog(place)
    for problem in catalog.problems:
        say(f"could not be read: {problem}")
    say(f"{counted(catalog.table.num_rows, 'volume')} of {catalog.url}. Ctrl-C ends it")
    with Server(Site(catalog), port) as server, _until_interrupted(catalog.url):
        give(server.url)
        if opens_browser and not _open(server.url):
            say("no browser could be opened here: open the address in one of this machine")
        server.serve_forever()


@contextmanager
def _until_interrupted(place: str) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        # The way to end it, and no failure.
        files = {"--format": "nifti", "--out": "nifti"}
        conclude("ended", command_line("factory export", from_here(place), flags=files))


def _open(url: str) -> bool:
    # Where there is no screen, a browser of texts would take the terminal, and show no picture.
    if sys.platform.startswith("linux") and not any(os.environ.get(name) for name in _SCREENS):
        return False
    return webbrowser.open(url)
