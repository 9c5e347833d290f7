"""The folder of an evaluation: whether it may be written to, asked before hours of measuring."""

from pathlib import Path

from factory.errors import UsageError
from factory.lake import IDENTITY
from jobs.claims import names_in
from jobs.evaluate.kept import ASIDE, FEATURES
from jobs.evaluate.slices import FOLDER as SLICES

RECORD = "evaluation.json"
FIGURES, MEMORISATION = "figures.parquet", "memorisation.parquet"
TABLES = "tables"
TABLE_2, TABLE_4 = f"{TABLES}/table2.md", f"{TABLES}/table4.md"
SCALING = ("mds.png", "mds.svg")
WORST_PAIRS = "worst_pairs*.png"

FILES = (RECORD, FIGURES, MEMORISATION, TABLE_2, TABLE_4, FEATURES, ASIDE, *SCALING)
"""All that an evaluation writes, but pictures of `WORST_PAIRS` and what is in `slices`."""

_FOLDERS = (TABLES, SLICES)
_OURS = (RECORD, FEATURES, ASIDE)
"""By any of these it is known that an evaluation was here, ended or not."""

_OTHERS = (IDENTITY, "run.json", "sweep.json", "downstream.json", "result.json")
"""In the folders of other verbs, whatever else is there."""


def claim_folder(out: Path) -> None:
    """Make the folder of an evaluation, or refuse one that would not take it.

    Raises:
        UsageError: It has files of something else, or folders where files are to be.
    """
    out.mkdir(parents=True, exist_ok=True)
    _refuse_others(out)
    for file in (*(out / name for name in FILES), *out.glob(WORST_PAIRS)):
        if file.is_dir():
            raise _blocked(file, "folder", "file")
    for folder in (out / name for name in _FOLDERS):
        if folder.exists() and not folder.is_dir():
            raise _blocked(folder, "file", "folder")


def _refuse_others(out: Path) -> None:
    names = names_in(out)
    strangers = [name for name in names if name in _OTHERS]
    if names and not set(names).intersection(_OURS):
        strangers += names
    if strangers:
        raise UsageError(
            f"--out {out}: found a folder with {strangers[0]} in it; expected an empty one, or one of an earlier "
            "evaluation. Choose another folder."
        )


def _blocked(path: Path, found: str, expected: str) -> UsageError:
    return UsageError(
        f"{path}: found a {found}; expected a {expected}, or nothing, for the evaluation to write there. Remove "
        "it, or choose another --out."
    )
