"""The table of patients as people write it: read, or refused with the line that contradicts."""

from pathlib import Path

import pytest

from factory.errors import FactoryError
from factory.ingest.sources import patients, read_patients


def patients_from(tmp_path: Path, content: str | bytes) -> dict[str, str]:
    path = tmp_path / "patients.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_patients(path)


@pytest.mark.parametrize(
    "content",
    [
        "case_id,patient_id\na,P1\nb,P1\n",
        "\ufeffcase_id,patient_id\r\na,P1\r\nb,P1\r\n",
        "age,patient_id,case_id\n61,P1,a\n61,P1,b",
        "case_id, patient_id\na, P1\n b ,P1 \n",
        '"case_id","patient_id"\n"a","P1"\n\n"b","P1"\n',
        "case_id,patient_id\na,P1\na,P1\nb,P1\n",
    ],
    ids=["plain", "from-excel", "other-columns", "spaces", "quoted", "line-twice"],
)
def test_patients_are_read_as_people_write_them(tmp_path, content):
    assert patients_from(tmp_path, content) == {"a": "P1", "b": "P1"}


@pytest.mark.parametrize(
    ("content", "found"),
    [("", "none"), ("a,P1\n", "a, P1"), ("case_id;patient_id\na;P1\n", "case_id;patient_id")],
)
def test_a_table_of_patients_without_its_columns_is_refused(tmp_path, content, found):
    expected = (
        rf"patients\.csv: found columns {found}; expected case_id and patient_id, with commas"
    )
    with pytest.raises(FactoryError, match=expected):
        patients_from(tmp_path, content)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("a,P2", "case 'a' with patient 'P2'"),
        ("b,", "case 'b' with patient ''"),
        (",P1", "case ''"),
        ("b", "case 'b'"),
    ],
)
def test_a_line_of_patients_that_contradicts_or_lacks_one_is_named(tmp_path, line, found):
    with pytest.raises(FactoryError, match=rf"line 3: found {found}.*one patient for each case"):
        patients_from(tmp_path, f"case_id,patient_id\na,P1\n{line}\n")


def test_a_quote_that_nobody_closed_is_told(tmp_path):
    with pytest.raises(FactoryError, match=r"patients\.csv: cannot be read \(field larger.*quotes"):
        patients_from(tmp_path, 'case_id,patient_id\na,"P1\n' + "b,P2\n" * 40_000)


def test_a_table_of_patients_that_cannot_be_opened_or_is_far_too_large_is_refused(
    tmp_path, monkeypatch
):
    with pytest.raises(FactoryError, match=r"found a folder; expected a CSV"):
        read_patients(tmp_path)
    monkeypatch.setattr(patients, "_BYTES_AT_MOST", 30)
    assert patients_from(tmp_path, "case_id,patient_id\na,P1\nb,P2\n") == {"a": "P1", "b": "P2"}
    with pytest.raises(
        FactoryError, match=r"patients\.csv: found more than 0 MiB; expected a line"
    ):
        patients_from(tmp_path, "case_id,patient_id\na,P1\nb,P2\nc,P3\n")


def test_a_table_of_patients_that_is_no_text_is_refused(tmp_path):
    with pytest.raises(FactoryError, match=r"patients\.csv: found bytes that are no text .*UTF-8"):
        patients_from(tmp_path, "case_id,patient_id\na,Müller\n".encode("latin-1"))
