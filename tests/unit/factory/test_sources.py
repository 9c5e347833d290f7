"""Which image files of a folder are a case, which masks belong to it, and what is rejected."""

import os
from pathlib import Path

import pytest
from endless import KINDS, not_for_ever, write_endless

from factory.errors import FactoryError
from factory.ingest.sources import Findings, SourceCase, find_cases


@pytest.fixture
def folder(tmp_path):
    """Make a folder of empty files, and search it."""

    def find(*names: str, patients: dict[str, str] | None = None) -> Findings:
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return find_cases(tmp_path, patients)

    return find


def names_of(paths: tuple[str, ...]) -> list[str]:
    return [Path(path).name for path in paths]


def only_case(found: Findings) -> SourceCase:
    assert found.rejects == []
    [case] = found.cases
    return case


def reasons(found: Findings) -> dict[str, str]:
    return {reject.case_id: reject.problem for reject in found.rejects}


def test_a_ct_with_its_masks_is_a_case(folder, tmp_path):
    case = only_case(folder("a_ct.nii.gz", "a_lung.nii.gz", "a_nodule.nii.gz"))
    assert case == SourceCase(
        case_id="a",
        patient_id="a",
        ct=f"{tmp_path}/a_ct.nii.gz",
        lung=(f"{tmp_path}/a_lung.nii.gz",),
        nodule=(f"{tmp_path}/a_nodule.nii.gz",),
    )


def test_several_masks_of_one_kind_belong_to_one_case_in_the_order_of_their_names(folder):
    case = only_case(
        folder("a_ct.nii", "a_lung_right.nii.gz", "a_lung_left.nii", "a_nodule2.nii", "a_tumor.nii")
    )
    assert names_of(case.lung) == ["a_lung_left.nii", "a_lung_right.nii.gz"]
    assert names_of(case.nodule) == ["a_nodule2.nii", "a_tumor.nii"]
    assert case.labels == ""


def test_a_ct_alone_is_a_case_whose_lungs_are_still_to_be_found(folder):
    case = only_case(folder("a_ct.nii.gz"))
    assert (case.lung, case.nodule, case.labels) == ((), (), "")


def test_folders_ct_and_seg_pair_files_of_one_name(folder, tmp_path):
    found = folder("CT/a.nii.gz", "SEG/a.nii.gz", "CT/b.nii.gz")
    assert found.rejects == []
    assert [(case.case_id, case.labels) for case in found.cases] == [
        ("a", f"{tmp_path}/SEG/a.nii.gz"),
        ("b", ""),
    ]


def test_a_segmentation_named_like_a_mask_is_still_a_segmentation(folder):
    case = only_case(folder("CT/a_lung_1.nii.gz", "SEG/a_lung_1.nii.gz"))
    assert case.case_id == "a_lung_1"
    assert Path(case.labels).parent.name == "SEG"


def test_masks_may_lie_in_other_folders_than_their_ct(folder):
    case = only_case(folder("scans/a_ct.nii.gz", "masks/deep/a_lung.nii.gz"))
    assert names_of(case.lung) == ["a_lung.nii.gz"]


def test_a_mask_goes_to_the_longest_ct_name_that_it_starts_with(folder):
    found = folder(
        "a_ct.nii.gz",
        "a_lung_1_ct.nii.gz",
        "a_lung.nii.gz",
        "a_lung_2.nii.gz",
        "a_lung_1_lung.nii.gz",
        "a_lung_1_nodule.nii.gz",
    )
    assert found.rejects == []
    short, long = found.cases
    assert names_of(short.lung) == ["a_lung.nii.gz", "a_lung_2.nii.gz"]
    assert names_of(short.nodule) == []
    assert names_of(long.lung) == ["a_lung_1_lung.nii.gz"]
    assert names_of(long.nodule) == ["a_lung_1_nodule.nii.gz"]


def test_a_case_may_have_lung_in_its_name(folder):
    case = only_case(folder("my_lung_7_ct.nii.gz", "my_lung_7_lung.nii.gz"))
    assert case.case_id == "my_lung_7"
    assert names_of(case.lung) == ["my_lung_7_lung.nii.gz"]


def test_a_mask_does_not_depend_on_being_listed_after_its_ct(folder):
    case = only_case(folder("0/z_lung.nii.gz", "9/z_ct.nii.gz"))
    assert names_of(case.lung) == ["z_lung.nii.gz"]


def test_two_cts_of_one_name_are_rejected_and_both_are_named(folder):
    found = folder("a_ct.nii", "a_ct.nii.gz", "b_ct.nii", "deep/b_ct.nii", "c_ct.nii")
    assert [case.case_id for case in found.cases] == ["c"]
    for name in "ab":
        assert reasons(found)[name].startswith("found 2 CTs with this id (")
        assert reasons(found)[name].endswith("expected one. Rename all but one.")
    assert "a_ct.nii," in reasons(found)["a"]
    assert "a_ct.nii.gz)" in reasons(found)["a"]


def test_two_segmentations_of_one_name_are_rejected(folder):
    found = folder("CT/a.nii", "SEG/a.nii", "SEG/a.nii.gz")
    assert found.cases == []
    assert reasons(found)["a"].startswith("found 2 segmentations with this id (")


@pytest.mark.parametrize("mask", ["a_lung.nii.gz", "a_nodule.nii.gz", "SEG/a.nii.gz"])
def test_a_mask_without_its_ct_is_rejected_with_the_name_that_is_missing(folder, mask):
    found = folder(mask, "b_ct.nii.gz")
    assert [case.case_id for case in found.cases] == ["b"]
    assert reasons(found).keys() == {"a"}
    assert f"{mask} but no CT; expected CT/a.nii.gz or a_ct.nii.gz" in reasons(found)["a"]


def test_a_mask_without_its_ct_is_named_up_to_its_last_mark(folder):
    assert reasons(folder("my_lung_7_lung.nii.gz")).keys() == {"my_lung_7"}


@pytest.mark.parametrize("name", ["patient 7", "ä", "-a", "", "a,b", "M" * 129])
def test_an_id_that_cannot_name_a_volume_is_rejected(folder, name):
    found = folder(f"x/{name}_ct.nii.gz", "good_ct.nii.gz")
    assert [case.case_id for case in found.cases] == ["good"]
    assert "an id that cannot name a volume" in reasons(found)[name]
    assert reasons(found)[name].endswith("Rename the files.")


@pytest.mark.parametrize("name", ["a\n_ct.nii.gz", "n\udcff_ct.nii.gz"])
def test_a_name_that_is_not_text_is_no_case(folder, name):
    found = folder(name, "good_ct.nii.gz")
    assert [case.case_id for case in found.cases] == ["good"]
    assert (found.rejects, found.ignored) == ([], [])


def test_a_link_that_leads_back_up_shows_no_scan_twice(folder, tmp_path):
    folder("ok/a_ct.nii.gz")
    os.symlink("..", tmp_path / "ok" / "loop")
    assert only_case(folder()).case_id == "a"


@pytest.mark.parametrize("name", ["1.2.840.113", "LIDC-IDRI-0042", "a_ct", "7"])
def test_ids_as_archives_have_them_are_kept(folder, name):
    assert only_case(folder(f"{name}_ct.nii.gz")).case_id == name


def test_hidden_files_and_folders_are_left_out(folder):
    found = folder("a_ct.nii.gz", "._a_ct.nii.gz", ".trash/b_ct.nii.gz", ".a_lung.nii.gz")
    case = only_case(found)
    assert case.lung == ()
    assert found.ignored == []


def test_nifti_files_that_match_nothing_are_reported_and_other_files_are_not(folder, tmp_path):
    found = folder("a_ct.nii.gz", "atlas.nii", "notes.txt", "a_ct.nii.gz.bak", "a_lung.nrrd")
    assert only_case(found).lung == ()
    assert found.ignored == [f"{tmp_path}/atlas.nii"]


def test_cases_come_in_the_order_of_their_names(folder):
    found = folder("c_ct.nii", "a/z_ct.nii", "CT/b.nii", "SEG/b.nii")
    assert [case.case_id for case in found.cases] == ["b", "c", "z"]


def test_a_folder_that_happens_to_be_named_ct_keeps_its_masks(folder):
    found = folder("CT/a_ct.nii", "CT/a_lung.nii", "CT/a_nodule.nii")
    (case,) = found.cases
    assert (case.case_id, len(case.lung), len(case.nodule)) == ("a", 1, 1)


def test_linked_folders_are_searched(folder, tmp_path):
    archive = tmp_path.parent / f"{tmp_path.name}-archive"
    archive.mkdir()
    (archive / "a_ct.nii.gz").touch()
    os.symlink(archive, tmp_path / "linked")
    assert only_case(folder()).case_id == "a"


def test_patients_are_named_and_who_is_not_is_their_own(folder):
    found = folder("a_ct.nii", "b_ct.nii", "c_ct.nii", patients={"a": "P1", "b": "P1"})
    assert [case.patient_id for case in found.cases] == ["P1", "P1", "c"]


def test_a_folder_without_scans_says_what_is_looked_for(tmp_path):
    (tmp_path / "slice.dcm").touch()
    with pytest.raises(FactoryError, match=r"found no \.nii or \.nii\.gz file; expected NAME_ct"):
        find_cases(tmp_path)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FactoryError, match=r"source .*/nowhere: found no such file or folder"):
        find_cases(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(FactoryError, match=r"source .*/file: found no folder; expected"):
        find_cases(tmp_path / "file")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["a_ct.nii.gz", "a_lung.nii", "a_nodule.mha"])
def test_a_case_with_a_pipe_or_a_device_among_its_files_is_rejected(folder, tmp_path, name, kind):
    folder("a_ct.nii.gz", "b_ct.nii.gz")
    (tmp_path / name).unlink(missing_ok=True)
    write_endless(tmp_path / name, kind)
    with not_for_ever():
        found = folder()
    assert [case.case_id for case in found.cases] == ["b"]
    assert reasons(found) == {
        "a": f"found {tmp_path / name}, which is a {kind} and no regular file; expected one that can "
        "be read to its end. Put the file itself there, or remove it."
    }


def test_a_case_whose_mask_is_a_link_that_leads_nowhere_is_not_made_without_it(folder, tmp_path):
    (tmp_path / "a_lung.nii.gz").symlink_to(tmp_path / "gone")
    found = folder("a_ct.nii.gz")
    assert found.cases == []
    assert "a_lung.nii.gz, which cannot be opened (FileNotFoundError); exp" in reasons(found)["a"]


def test_files_that_are_dicom_are_no_images_whatever_they_are_called(folder, tmp_path):
    folder("a_ct.nii.gz", "b_ct.nii.gz", "odd.mhd")
    dicom = {tmp_path / "b_ct.nii.gz", tmp_path / "odd.mhd"}
    found = find_cases(tmp_path, dicom_files=dicom)
    assert [case.case_id for case in found.cases] == ["a"]
    assert (found.rejects, found.ignored) == ([], [])
    assert found.files == {tmp_path / "a_ct.nii.gz"}
