"""Files that somebody prepared, or a disk broke: each ends as a case or with a reason."""

import re
from contextlib import suppress
from pathlib import Path

from dicom_scans import write_dicom_scan
from fuzzing import fuzz, mutated

from factory.dicom.identity import PatientKey
from factory.errors import FactoryError
from factory.ingest.prepare import IngestConfig
from factory.ingest.tags import Tags
from jobs.ingest.inputs import Asked, Inputs, gather
from jobs.ingest.task import KEPT, MADE, QUARANTINED, REMADE, ingest_case

CONFIG = IngestConfig(grid=16)
SMALL = (12, 24, 32)
ENTITIES = "".join(f'<!ENTITY e{n + 1} "{f"&e{n};" * 10}">' for n in range(9))
BOMB = f'<!DOCTYPE x [<!ENTITY e0 "bang">{ENTITIES}]><LidcReadMessage>&e9;</LidcReadMessage>'


def found(folder: Path) -> Inputs:
    inputs, _ = gather(folder, Asked(), lambda: Tags(PatientKey(bytes(32))))
    return inputs


def test_fuzzed_slices_of_a_tree_end_as_a_case_or_with_a_reason(tmp_path: Path) -> None:
    scan = write_dicom_scan(tmp_path / "scans", 7, size=SMALL)
    path, store = scan.files.paths[4], str(tmp_path / "cases")

    def check(content: bytes) -> None:
        path.write_bytes(content)
        with suppress(FactoryError):
            inputs = found(tmp_path / "scans")
            ended = [ingest_case(given.source, store, CONFIG, "r") for given in inputs.cases]
            assert {outcome.state for outcome in ended} <= {MADE, REMADE, KEPT, QUARANTINED}
            assert inputs.cases or inputs.refused or inputs.left_out

    fuzz(mutated(path.read_bytes()), check, examples=20)


def test_an_entity_bomb_is_left_out_and_the_series_beside_it_is_a_case(tmp_path: Path) -> None:
    write_dicom_scan(tmp_path, 7, size=SMALL)
    (tmp_path / "readers.xml").write_text(BOMB)
    inputs = found(tmp_path)
    assert len(inputs.cases) == 1
    assert [one.reason for one in inputs.left_out] == ["XML that cannot be read"]


def test_ids_that_are_paths_name_no_file(tmp_path: Path) -> None:
    write_dicom_scan(
        tmp_path / "scans", 7, size=SMALL, patient_id="../../escape", series_uid="../../etc/passwd"
    )
    (given,) = found(tmp_path / "scans").cases
    assert re.fullmatch("[0-9a-f]{16}-[0-9a-f]{8}", given.source.case_id)
    outcome = ingest_case(given.source, str(tmp_path / "cases"), CONFIG, "r")
    assert outcome.state in (MADE, QUARANTINED)
    assert {path.name for path in tmp_path.iterdir()} == {"scans", "cases"}


def test_a_declared_size_that_the_files_cannot_have_is_refused_before_memory_is_taken(
    tmp_path: Path,
) -> None:
    huge = {"Rows": 60_000, "Columns": 60_000}
    write_dicom_scan(tmp_path, 7, size=SMALL, tags=huge)
    inputs = found(tmp_path)
    ended = [ingest_case(given.source, str(tmp_path / "c"), CONFIG, "r") for given in inputs.cases]
    assert all(outcome.state == QUARANTINED for outcome in ended)
    assert inputs.refused or ended
