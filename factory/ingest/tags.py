"""Names that stand for patients, series and files of DICOM inputs, and tell nothing of them."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from factory.dicom.identity import Identified, PatientKey

_SERIES_DIGITS = 8


@dataclass(frozen=True, slots=True)
class Tags:
    """Keyed hashes as names: the same input has the same name wherever the key is the same."""

    key: PatientKey

    def patient_id(self, of: Identified) -> str:
        """Return the name of a patient, 16 hex digits; a study without one is its own."""
        return self.key.patient_id(of)

    def case_id(self, of: Identified) -> str:
        """Return the name of a series: its patient's, and 8 hex digits."""
        series = self.key.hashed("series", f"{of.study_uid}\0{of.series_uid}")
        return f"{self.patient_id(of)}-{series[:_SERIES_DIGITS]}"

    def file(self, path: str | Path) -> str:
        """Return the name of a file or folder."""
        # Digested first: of identifiers neither case nor spaces count, and of paths they do.
        digest = hashlib.sha256(os.fsencode(os.path.abspath(path))).hexdigest()
        return f"file-{self.key.hashed('path', digest)}"
