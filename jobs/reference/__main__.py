"""Write the pages of the docs that are made from the code, or check that they are current.

python -m jobs.reference [--check] docs
"""

import sys
from pathlib import Path

from jobs.console import say
from jobs.reference.cli import cli_page
from jobs.reference.manifest import manifest_page
from jobs.reference.recipes import recipes_page

PAGES = {"cli.md": cli_page, "recipes.md": recipes_page, "manifest.md": manifest_page}


def main(arguments: list[str]) -> int:
    """Write the pages into a folder, or compare with them; return the exit status."""
    check = "--check" in arguments
    (folder,) = (Path(argument) for argument in arguments if argument != "--check")
    stale = 0
    for name, page in PAGES.items():
        path, current = folder / name, page()
        if not check:
            path.write_text(current, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != current:
            say(f"error: {path} is not what the code says. Run `make fmt` and commit it.")
            stale = 1
    return stale


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
