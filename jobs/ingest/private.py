"""What leads from a store back to its patients: kept beside the store, never in it.

CASES.private/patient-key     the key of all hashes; FACTORY_PATIENT_KEY stands above it
CASES.private/inputs.csv      which file or folder each tag of a DICOM input stands for
"""

import csv
import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from factory.dicom.identity import (
    KEY_VARIABLE,
    PatientKey,
    existing_key,
    key_of_environment,
    patient_key,
)
from factory.errors import StoreError, UsageError
from factory.ingest.tags import Tags
from factory.lake import Lake
from factory.refused import found_of
from factory.storage import Storage

KEY_FILE = "patient-key"
INPUTS = "inputs.csv"
KEY_CHECK = "patient-key-check.json"
"""In the store: a hash by its key of what is known, to tell the key by."""

_SUFFIX = ".private"
_LOCK = ".lock"
_COLUMNS = ("tag", "path")


@dataclass(frozen=True, slots=True)
class Private:
    """The folder beside a store."""

    folder: Path | None
    """None where the store is a URL and no folder was named: nothing beside it is its owner's alone."""
    is_named: bool = False
    """Whether the user named it, and did not leave it to the store."""

    @classmethod
    def of(cls, out: str | Path, given: Path | None) -> "Private":
        """Return the folder that was named, or the one beside a local store; nothing is made.

        Raises:
            UsageError: It lies inside the store.
        """
        storage = Storage(out)
        if given is None:
            return cls(Path(storage.url + _SUFFIX) if storage.is_local else None)
        folder = Path(os.path.abspath(given))
        if storage.is_local and folder.is_relative_to(storage.url):
            raise UsageError(
                f"--private {given}: found a folder inside the store {storage.url}; expected one outside "
                "of it, for stores are copied and shared. Choose another folder."
            )
        return cls(folder, is_named=True)

    def tags(self) -> Tags:
        """Return names for DICOM inputs, by the environment's key or the folder's, made if need be.

        Raises:
            UsageError: There is nowhere to keep a key.
            StoreError: The folder cannot be made.
        """
        if self.folder:
            self._make(self.folder)
            return Tags(patient_key(self.folder / KEY_FILE))
        if key := key_of_environment():
            return Tags(key)
        raise UsageError(
            "the source holds DICOM files, and the store is a URL: found no key for the hashes that "
            f"stand for patients; expected one that stays with you. Set {KEY_VARIABLE}, or name a folder "
            "of your own with --private."
        )

    def existing_tags(self) -> Tags | None:
        """Return the same where there is a key that can be read, and make nothing."""
        key = key_of_environment()
        if key is None and self.folder:
            # NIfTI files are ingested without the key, by who may not read it too.
            with suppress(OSError):
                key = existing_key(self.folder / KEY_FILE)
        return Tags(key) if key else None

    def note(self, paths: Mapping[str, str]) -> None:
        """Add to the table of inputs which path each tag stands for; the newest path stands."""
        if self.folder and paths:
            self._make(self.folder)
            _note(self.folder, paths)

    def _make(self, folder: Path) -> None:
        """Make the folder for its owner alone, or refuse it."""
        try:
            _make(folder)
        except OSError as error:
            named = f"--private {folder}"
            if not self.is_named:
                named = f"--out {str(folder).removesuffix(_SUFFIX)}, with {folder.name} beside it"
            raise StoreError(
                f"{named}: found {found_of(error)}; expected a private folder that can be "
                "made, for the key of patients' hashes. Correct the permissions, or name another "
                "with --private."
            ) from error


def refuse_unwritable(out: str | Path) -> None:
    """Refuse a local store that nobody can write to, before anything is read for it or made beside it.

    Raises:
        StoreError: The folder, or the one that it is to be made in, is none or is closed.
    """
    storage = Storage(out)
    if not storage.is_local:
        return
    place = Path(storage.url)
    while not os.path.lexists(place):
        place = place.parent
    found = "" if place.is_dir() else "no folder"
    if not found and not os.access(place, os.W_OK | os.X_OK):
        found = "a folder that cannot be written to"
    if found:
        raise StoreError(
            f"--out {out}: found {found} at {place}; expected one that can be written to. Correct its "
            "permissions, or choose another --out."
        )


def claim_key(lake: Lake, key: PatientKey) -> None:
    """Make the store this key's, unless it has one.

    Raises:
        StoreError: It was begun with another.
    """
    lake.storage.create_json(KEY_CHECK, {"key_check": key.check})
    refuse_other_key(lake, key)


def refuse_other_key(lake: Lake, key: PatientKey) -> None:
    """Refuse a key that the store's patients were not named with.

    Raises:
        StoreError: It is another.
    """
    try:
        found = lake.storage.read_json(KEY_CHECK)
    except FileNotFoundError:
        return
    except ValueError:
        found = None
    if found != {"key_check": key.check}:
        raise StoreError(
            f"case store {lake.url}: found a patient key other than {KEY_CHECK} tells; expected the one that "
            "the store was begun with, for by another each patient becomes two, and may be in training "
            f"and test at once. Put back the {KEY_FILE} of its private folder, name that folder with "
            f"--private, set {KEY_VARIABLE} as it was, or choose another --out."
        )


def _make(folder: Path) -> None:
    """Make the folder for its owner alone.

    Raises:
        UsageError: It is there, and others may read it.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    mode = folder.stat().st_mode & 0o777
    if mode & 0o077:
        raise UsageError(
            f"private folder {folder}: found mode {mode:04o}; expected 0700, for it leads from tags to "
            f"patients. Run: chmod 700 {folder}"
        )


def _note(folder: Path, paths: Mapping[str, str]) -> None:
    with _locked(folder):
        known = read_inputs(folder)
        # Paths may hold bytes that are no text.
        draft = folder / f".{INPUTS}.{os.getpid()}"
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(
            descriptor, "w", newline="", encoding="utf-8", errors="surrogateescape"
        ) as file:
            writer = csv.writer(file)
            writer.writerow(_COLUMNS)
            writer.writerows(sorted({**known, **paths}.items()))
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, folder / INPUTS)


def read_inputs(folder: Path) -> dict[str, str]:
    """Return the path that each tag stands for; nothing where no table has been written."""
    try:
        with open(folder / INPUTS, newline="", encoding="utf-8", errors="surrogateescape") as file:
            rows = list(csv.reader(file))
    except FileNotFoundError:
        return {}
    return {row[0]: row[1] for row in rows[1:] if len(row) == len(_COLUMNS)}


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let one process at a time write here: of two at once, neither loses its lines."""
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
