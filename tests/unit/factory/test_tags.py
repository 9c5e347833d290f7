"""Names of patients, series and files tell nothing of them, and stay the same with the key."""

import re
from dataclasses import dataclass

import pytest

from factory.dicom.identity import PatientKey
from factory.ingest.tags import Tags


@dataclass(frozen=True)
class Named:
    patient_id: str = "DOE-1954"
    issuer: str = ""
    study_uid: str = "1.2.3"
    series_uid: str = "1.2.3.4"


@pytest.fixture
def tags() -> Tags:
    return Tags(PatientKey(bytes(32)))


def test_a_case_is_named_by_its_patient_and_series(tags: Tags) -> None:
    case_id = tags.case_id(Named())
    assert re.fullmatch(r"[0-9a-f]{16}-[0-9a-f]{8}", case_id)
    assert case_id.startswith(tags.patient_id(Named()))
    assert "DOE" not in case_id


def test_two_series_of_a_patient_share_the_patient_alone(tags: Tags) -> None:
    one, other = Named(), Named(series_uid="1.2.3.5")
    assert tags.patient_id(one) == tags.patient_id(other)
    assert tags.case_id(one) != tags.case_id(other)


def test_one_series_uid_in_two_studies_is_two_cases(tags: Tags) -> None:
    assert tags.case_id(Named()) != tags.case_id(Named(study_uid="1.2.4"))


def test_another_key_gives_other_names(tags: Tags) -> None:
    other = Tags(PatientKey(bytes([1]) * 32))
    assert other.case_id(Named()) != tags.case_id(Named())
    assert other.file("/scans/a") != tags.file("/scans/a")


def test_files_whose_paths_differ_in_case_or_spaces_are_two(tags: Tags) -> None:
    names = {tags.file(path) for path in ("/s/a b", "/s/a  b", "/s/A b", "/s/a b/")}
    assert len(names) == 3
    assert all(re.fullmatch(r"file-[0-9a-f]{16}", name) for name in names)
