"""The table that names the patient of each case."""

import csv
import io
from pathlib import Path

from factory.errors import FactoryError

_COLUMNS = ("case_id", "patient_id")


def read_patients(path: Path) -> dict[str, str]:
    """Read a CSV with columns `case_id` and `patient_id`.

    Raises:
        FactoryError: The file is not UTF-8, has other columns, a line with one name, or one
            case with two patients.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise FactoryError(
            f"patients {path}: found bytes that are no text ({error.reason}); expected a CSV in UTF-8. "
            "Save it again as CSV UTF-8."
        ) from error
    return _patients_of(text, path)


def _patients_of(text: str, path: Path) -> dict[str, str]:
    patients: dict[str, str] = {}
    reader = csv.DictReader(io.StringIO(text, newline=""), skipinitialspace=True)
    columns = reader.fieldnames or []
    if not set(_COLUMNS) <= set(columns):
        raise FactoryError(
            f"patients {path}: found columns {', '.join(columns) or 'none'}; expected case_id and "
            "patient_id, with commas between. Correct the first line."
        )
    for row in reader:
        case_id, patient_id = ((row[column] or "").strip() for column in _COLUMNS)
        if not case_id or not patient_id or patients.get(case_id, patient_id) != patient_id:
            raise FactoryError(
                f"patients {path}, line {reader.line_num}: found case {case_id!r} with patient "
                f"{patient_id!r}; expected one patient for each case. Correct the line."
            )
        patients[case_id] = patient_id
    return patients
