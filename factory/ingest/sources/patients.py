"""The table that names the patient of each case."""

import csv
import io
from pathlib import Path

from factory.errors import FactoryError
from factory.refused import found_of

_COLUMNS = ("case_id", "patient_id")
_BYTES_AT_MOST = 64 * 2**20


def read_patients(path: Path) -> dict[str, str]:
    """Read a CSV with columns `case_id` and `patient_id`.

    Raises:
        FactoryError: The file cannot be read, is too large or not UTF-8, has other columns, a
            line with one name, or one case with two patients.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_BYTES_AT_MOST + 1)
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise FactoryError(
            f"patients {path}: found {found_of(error)}; expected a CSV that can be read. Check the "
            "path and its permissions."
        ) from error
    except UnicodeDecodeError as error:
        raise FactoryError(
            f"patients {path}: found bytes that are no text ({error.reason}); expected a CSV in UTF-8. "
            "Save it again as CSV UTF-8."
        ) from error
    if len(content) > _BYTES_AT_MOST:
        raise FactoryError(
            f"patients {path}: found more than {_BYTES_AT_MOST >> 20} MiB; expected a line for each "
            "case. Check that it is the table of patients."
        )
    try:
        return _patients_of(text, path)
    except csv.Error as error:
        raise FactoryError(
            f"patients {path}: cannot be read ({error}); expected a CSV of short names. Close the "
            "quotes that are open, and save it again as CSV UTF-8."
        ) from error


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
