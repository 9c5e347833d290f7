"""Keyed hashes in place of identifiers: the same patient is the same hash, and nobody can go back.

A plain hash of a patient's number is undone by trying all numbers. An HMAC (RFC 2104) is not, by
who does not have the key; so the key stays with those who have the scans.
"""

import hmac
import os
import secrets
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from factory.errors import StoreError, UsageError
from factory.refused import found_of

KEY_VARIABLE = "FACTORY_PATIENT_KEY"
"""Environment variable with the key: hex digits, or text."""

_KEY_BYTES = 32
_SECRET_AT_LEAST_BYTES = 16
_HEX_DIGITS = 16
_CONTEXT = b"ct-factory patient key"


class Identified(Protocol):
    """What belongs to a patient: a series, or files that are left out."""

    @property
    def patient_id(self) -> str:
        """PatientID; empty where there is none."""

    @property
    def issuer(self) -> str:
        """IssuerOfPatientID: two hospitals may give one number to two patients."""

    @property
    def study_uid(self) -> str:
        """StudyInstanceUID."""

    @property
    def series_uid(self) -> str:
        """SeriesInstanceUID."""


class PatientKey:
    """The secret that identifiers are hashed with; it shows in no text, log or traceback."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        """Take a key as it is.

        Raises:
            UsageError: It has not 32 bytes.
        """
        if len(key) != _KEY_BYTES:
            raise UsageError(
                f"patient key: found {len(key)} bytes; expected {_KEY_BYTES}. Remove the file to make a new "
                "key (every hash changes), or set the key that it had"
            )
        self._key = key

    def __repr__(self) -> str:
        return "PatientKey(...)"

    @property
    def check(self) -> str:
        """Hash of what is no identifier: tells whether two keys are one, and no more."""
        return self.hashed("store", "")

    def hashed(self, kind: str, value: str) -> str:
        """Return 16 hex digits that stand for an identifier.

        Args:
            kind: What it is, as `patient`: one number as two kinds has two hashes.
            value: Identifier; case, and spaces around it and in a row, do not count.
        """
        message = kind.encode() + b"\0" + _normal(value).encode("utf-8", "surrogatepass")
        return hmac.new(self._key, message, "sha256").hexdigest()[:_HEX_DIGITS]

    def patient_id(self, of: Identified) -> str:
        """Return the hash of a patient.

        Who has no PatientID is told apart by study. Two studies of one patient then look like two
        patients, and may stand on both sides of a split: warn of it.
        """
        if patient_id := _normal(of.patient_id):
            return self.hashed("patient", f"{patient_id}\0{_normal(of.issuer)}")
        if of.study_uid:
            return self.hashed("study", of.study_uid)
        return self.hashed("series", of.series_uid)


def patient_key(file: Path, environment: Mapping[str, str] = os.environ) -> PatientKey:
    """Return the key of the environment, or of a file, which is made where there is none.

    Args:
        file: Holds the key as hex digits; made with mode 0600 in a folder with mode 0700. Two
            processes that come at once get one key.
        environment: Where `FACTORY_PATIENT_KEY` is looked up.

    Raises:
        UsageError: The variable holds less than 16 bytes, or the file no key.
        StoreError: The file cannot be read or made.
    """
    if key := key_of_environment(environment):
        return key
    try:
        return existing_key(file) or _made(file)
    except OSError as error:
        raise StoreError(
            f"patient key {file}: found {found_of(error)}; expected a file that can be made "
            f"and read. Check its folder, or set {KEY_VARIABLE}."
        ) from error


def key_of_environment(environment: Mapping[str, str] = os.environ) -> PatientKey | None:
    """Return the key that `FACTORY_PATIENT_KEY` sets, or None.

    Raises:
        UsageError: It holds less than 16 bytes.
    """
    text = environment.get(KEY_VARIABLE, "").strip()
    if not text:
        return None
    try:
        secret = bytes.fromhex(text)
    except ValueError:
        secret = text.encode("utf-8", "surrogateescape")
    if len(secret) < _SECRET_AT_LEAST_BYTES:
        raise UsageError(
            f"{KEY_VARIABLE}: found {len(secret)} bytes; expected at least {_SECRET_AT_LEAST_BYTES}, as hex "
            "digits or text, for a short key is found by trying. Set it to what `openssl rand -hex 32` prints."
        )
    # Whatever its length, the key that is used has 32 bytes.
    return PatientKey(hmac.new(_CONTEXT, secret, "sha256").digest())


def existing_key(file: Path) -> PatientKey | None:
    """Return the key of a file, or None where there is no file; nothing is made.

    Raises:
        UsageError: The file holds no key.
        OSError: It cannot be read.
    """
    try:
        text = file.read_bytes()
    except FileNotFoundError:
        return None
    try:
        return PatientKey(bytes.fromhex(text.decode("ascii").strip()))
    except ValueError:
        raise UsageError(
            f"{file}: found {len(text)} bytes that are no hex digits; expected {2 * _KEY_BYTES} of them. Put "
            "back the key that it had, or remove the file to make a new one (every hash changes)."
        ) from None
    except UsageError as error:
        raise UsageError(f"{file}: {error}.") from None


def _made(file: Path) -> PatientKey:
    """Make the key file, whole or not at all; where another process was first, return its key."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as out:
            out.write(secrets.token_bytes(_KEY_BYTES).hex() + "\n")
            out.flush()
            os.fsync(out.fileno())
        # A link is exclusive as a created file is, and what it shows is whole.
        os.link(draft, file)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    key = existing_key(file)
    if key is None:
        raise FileNotFoundError(f"{file} was removed while it was read")
    return key


def _normal(value: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", value).casefold().split())
