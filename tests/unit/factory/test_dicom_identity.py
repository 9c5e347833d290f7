"""Hashes in place of identifiers."""

import hashlib
import hmac
import pickle
import subprocess
import sys
import time
from dataclasses import dataclass

import pytest

from factory.dicom import identity
from factory.dicom.identity import (
    KEY_VARIABLE,
    PatientKey,
    existing_key,
    key_of_environment,
    patient_key,
)
from factory.errors import FactoryError, StoreError, UsageError

KEY = PatientKey(bytes(range(32)))
OTHER_KEY = PatientKey(bytes(32))
HEX = "00112233445566778899aabbccddeeff"


@dataclass
class Someone:
    patient_id: str = "MRN-4711"
    issuer: str = ""
    study_uid: str = "1.2.3"
    series_uid: str = "1.2.3.4"


def test_a_hash_is_an_hmac_of_the_kind_and_the_value():
    expected = hmac.new(bytes(range(32)), b"patient\0mrn-4711", hashlib.sha256).hexdigest()[:16]
    assert KEY.hashed("patient", "MRN-4711") == expected


def test_without_the_key_nobody_finds_the_hash_again():
    assert KEY.hashed("patient", "MRN-4711") != OTHER_KEY.hashed("patient", "MRN-4711")
    assert KEY.hashed("patient", "MRN-4711") != KEY.hashed("series", "MRN-4711")
    assert KEY.hashed("a", "b\0c") == KEY.hashed("a\0b", "c")


@pytest.mark.parametrize("written", [" MRN-4711 ", "mrn-4711", "\uff2d\uff32\uff2e-4711"])
def test_one_patient_is_one_hash_however_the_number_is_written(written):
    assert KEY.patient_id(Someone(written)) == KEY.patient_id(Someone())


def test_one_number_of_two_hospitals_is_two_patients():
    assert KEY.patient_id(Someone(issuer="A")) != KEY.patient_id(Someone(issuer="B"))
    assert KEY.patient_id(Someone("12", "3")) != KEY.patient_id(Someone("1", "23"))


def test_a_patient_without_a_number_is_told_apart_by_study_then_by_series():
    nobody = KEY.patient_id(Someone("  "))
    assert nobody == KEY.patient_id(Someone("", series_uid="9.9"))
    assert nobody != KEY.patient_id(Someone("", study_uid="9.9"))
    assert nobody != KEY.patient_id(Someone("1.2.3"))
    assert KEY.patient_id(Someone("", study_uid="")) != KEY.patient_id(
        Someone("", study_uid="", series_uid="9.9")
    )


def test_a_value_that_is_no_text_has_a_hash_too():
    assert len(KEY.hashed("patient", "\udcff")) == 16


def test_a_key_shows_in_no_text(tmp_path):
    key = patient_key(tmp_path / "key", {})
    secret = (tmp_path / "key").read_text().strip()
    for shown in (repr(key), str(key), f"{key}"):
        assert shown == "PatientKey(...)"
    assert pickle.loads(pickle.dumps(key)).hashed("a", "b") == key.hashed("a", "b")
    with pytest.raises(UsageError) as caught:
        PatientKey(bytes.fromhex(secret)[:-1])
    assert secret[:8] not in str(caught.value)


def test_a_key_is_made_once_for_its_owner_alone(tmp_path):
    file = tmp_path / "cases.private" / "patient-key"
    assert existing_key(file) is None
    assert not file.parent.exists()
    key = patient_key(file, {})
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert len(bytes.fromhex(file.read_text())) == 32
    for again in (patient_key(file, {}), existing_key(file)):
        assert again.hashed("patient", "1") == key.hashed("patient", "1")
    assert [path.name for path in file.parent.iterdir()] == ["patient-key"]
    assert patient_key(tmp_path / "other", {}).hashed("a", "1") != key.hashed("a", "1")


def test_processes_that_come_at_once_get_one_key(tmp_path):
    start = (
        "import sys, time; from pathlib import Path;"
        "from factory.dicom.identity import patient_key;"
        "time.sleep(max(0, float(sys.argv[2]) - time.time()));"
        "print(patient_key(Path(sys.argv[1]), {}).hashed('patient', '1'))"
    )
    given = [sys.executable, "-c", start, str(tmp_path / "deep" / "key"), str(time.time() + 0.7)]
    running = [subprocess.Popen(given, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    said = [process.communicate(timeout=60)[0].strip() for process in running]
    assert len(set(said)) == 1
    assert len(said[0]) == 16


def test_of_two_writers_the_second_takes_the_key_of_the_first(tmp_path, monkeypatch):
    """The first has linked its key between the look of the second and its own link."""
    file = tmp_path / "key"
    first = patient_key(file, {})
    content = file.read_text()
    looks = iter([None, first])
    monkeypatch.setattr(identity, "existing_key", lambda path: next(looks))
    assert patient_key(file, {}) is first
    assert file.read_text() == content
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


@pytest.mark.parametrize("text", [HEX, "a sentence that is long enough"])
def test_the_environment_stands_above_the_file(tmp_path, text):
    key = patient_key(tmp_path / "key", {KEY_VARIABLE: text})
    assert not (tmp_path / "key").exists()
    assert key.hashed("a", "b") == key_of_environment({KEY_VARIABLE: f" {text}\n"}).hashed("a", "b")
    assert key.hashed("a", "b") != key_of_environment({KEY_VARIABLE: text + "00"}).hashed("a", "b")


def test_hex_is_read_as_the_bytes_that_it_stands_for():
    upper = key_of_environment({KEY_VARIABLE: HEX.upper()})
    assert upper.hashed("a", "b") == key_of_environment({KEY_VARIABLE: HEX}).hashed("a", "b")
    assert key_of_environment({}) is None
    assert key_of_environment({KEY_VARIABLE: "  "}) is None


@pytest.mark.parametrize(("text", "num"), [("brief", 5), (HEX[:30], 15), ("fifteen letters", 15)])
def test_a_short_key_is_refused_without_being_shown(tmp_path, text, num):
    with pytest.raises(
        UsageError, match=rf"FACTORY_PATIENT_KEY: found {num} bytes; expected at least 16"
    ) as caught:
        patient_key(tmp_path / "key", {KEY_VARIABLE: text})
    assert text not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "patient key: found 0 bytes; expected 32. Remove"),
        (b"00" * 31, "patient key: found 31 bytes; expected 32. Remove"),
        (b"abc", "found 3 bytes that are no hex digits; expected 64 of them. Put back the key"),
        (b"no hex\n", "found 7 bytes that are no hex digits; expected 64"),
        (b"\xff\xfe", "found 2 bytes that are no hex digits; expected 64"),
    ],
)
def test_a_file_that_holds_no_key_is_left_as_it_is(tmp_path, content, found):
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(FactoryError, match=f"key: {found}"):
        patient_key(tmp_path / "key", {})
    assert (tmp_path / "key").read_bytes() == content


def test_a_key_that_cannot_be_written_is_an_error_with_the_way_out(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="Check its folder, or set FACTORY_PATIENT_KEY"):
        patient_key(tmp_path / "file" / "key", {})


def test_a_check_tells_keys_apart_and_is_no_hash_of_anybody():
    assert KEY.check == PatientKey(bytes(range(32))).check != OTHER_KEY.check
    assert KEY.check not in {KEY.patient_id(Someone()), KEY.hashed("patient", "")}
