import json
from pathlib import Path

import pytest
from endless import KINDS, not_for_ever, write_endless

from factory.ingest.sources import DrawnMasks, Findings, SourceCase, beside_series, find_cases
from factory.ingest.sources.total_segmentator import LOBES
from factory.layouts import LUNG, NODULE


@pytest.fixture
def folder(tmp_path):
    """Make a folder of empty files, and search it."""

    def find(*names: str, series: tuple[str, ...] = (), **changes) -> Findings:
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return find_cases(tmp_path, series_folders=[tmp_path / name for name in series], **changes)

    return find


@pytest.fixture
def described(tmp_path):
    """Write dataset.json for nnU-Net."""

    def write(text: str | None = None, **content) -> None:
        whole = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "nodule": 1}} | content
        (tmp_path / "dataset.json").write_text(json.dumps(whole) if text is None else text)

    return write


def only_case(found: Findings) -> SourceCase:
    assert found.rejects == []
    assert found.ignored == []
    [case] = found.cases
    return case


def within(paths: tuple[str, ...], folder: Path) -> list[str]:
    return [str(Path(path).relative_to(folder)) for path in paths]


def lobes(folder: str) -> list[str]:
    return [f"{folder}/{lobe}.nii.gz" for lobe in LOBES]


def test_nnunet_pairs_images_and_labels_and_reads_what_the_labels_are(folder, described, tmp_path):
    described(labels={"background": 0, "lungs": 1, "heart": 2, "lung nodule": 3})
    case = only_case(folder("imagesTr/p1_0000.nii.gz", "labelsTr/p1.nii.gz"))
    assert case == SourceCase(
        case_id="p1",
        patient_id="p1",
        ct=f"{tmp_path}/imagesTr/p1_0000.nii.gz",
        labels=f"{tmp_path}/labelsTr/p1.nii.gz",
        label_roles=((1, LUNG), (3, NODULE)),
    )


def test_the_decathlons_lung_tumours_are_nodules(folder, described, tmp_path):
    described(channel_names=None, modality={"0": "CT"}, labels={"0": "background", "1": "cancer"})
    case = only_case(folder("imagesTr/lung_001.nii.gz", "labelsTr/lung_001.nii.gz"))
    assert (case.case_id, case.label_roles) == ("lung_001", ((1, NODULE),))
    assert Path(case.labels).name == "lung_001.nii.gz"


def test_a_decathlon_name_that_ends_like_a_channel_keeps_its_label(folder, described):
    described()
    case = only_case(folder("imagesTr/case_0001.nii.gz", "labelsTr/case_0001.nii.gz"))
    assert case.case_id == "case_0001"


def test_regions_of_several_labels_count_with_each(folder, described):
    described(labels={"background": 0, "lung": [1, 2], "tumor": [2]})
    case = only_case(folder("imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz"))
    assert case.label_roles == ((1, LUNG), (2, NODULE))


def test_nnunets_test_images_are_cases_without_nodules(folder, described):
    described()
    case = only_case(folder("imagesTs/b_0000.nii.gz"))
    assert (case.case_id, case.labels, case.label_roles) == ("b", "", ())


def test_other_channels_of_nnunet_are_left_out_and_named(folder, described, tmp_path):
    described(channel_names={"0": "CT", "1": "PET"})
    found = folder("imagesTr/a_0000.nii.gz", "imagesTr/a_0001.nii.gz")
    assert [case.case_id for case in found.cases] == ["a"]
    assert found.ignored == [f"{tmp_path}/imagesTr/a_0001.nii.gz"]


def test_labels_that_name_neither_lung_nor_nodule_are_noted(folder, described):
    described(labels={"background": 0, "liver": 1})
    case = only_case(folder("imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz"))
    assert case.labels == ""
    assert case.notes == ("its labels name neither lung nor nodule",)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"channel_names": {"0": "MRI"}}, "has 'MRI' as channel 0; expected CT"),
        ({"channel_names": {}}, "has nothing as channel 0; expected CT"),
        ({"labels": None}, "has no labels by name; expected, say"),
        ({"text": "{"}, "cannot be read (JSONDecodeError); expected nnU-Net's JSON"),
        ({"text": "[" * 100_000}, "cannot be read (RecursionError)"),
        ({"text": "[]"}, "is a list; expected an object with channel_names"),
    ],
)
def test_a_dataset_that_is_not_described_as_cts_is_refused_case_by_case(
    folder, described, content, words
):
    described(**content)
    found = folder("imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz", "imagesTr/b_0000.nii.gz")
    assert found.cases == []
    assert [reject.case_id for reject in found.rejects] == ["a", "b"]
    assert words in found.rejects[0].problem


def test_a_dataset_without_description_is_refused(folder):
    [reject] = folder("imagesTr/a_0000.nii.gz").rejects
    assert "dataset.json cannot be read (FileNotFoundError)" in reject.problem


def test_labels_without_their_image_are_refused(folder, described):
    described()
    found = folder("imagesTr/a_0000.nii.gz", "labelsTr/b.nii.gz")
    [reject] = found.rejects
    assert reject.case_id == "b"
    assert "but no CT; expected imagesTr/b_0000.nii.gz" in reject.problem


def test_a_total_segmentator_folder_is_a_lung_mask_and_its_organs_are_no_matter(folder, tmp_path):
    organs = [f"s0011/segmentations/{name}.nii.gz" for name in ("heart", "liver", "rib_left_1")]
    case = only_case(folder("s0011/ct.nii.gz", *lobes("s0011/segmentations"), *organs))
    assert (case.case_id, case.ct) == ("s0011", f"{tmp_path}/s0011/ct.nii.gz")
    assert within(case.lung, tmp_path) == sorted(lobes("s0011/segmentations"))
    assert (case.nodule, case.notes) == ((), ())


@pytest.mark.parametrize("end", ["segmentations", "total"])
def test_a_total_segmentator_folder_beside_its_ct_is_found_by_name(folder, end, tmp_path):
    case = only_case(folder("a_ct.nii.gz", *lobes(f"a_{end}"), f"a_{end}/lung_nodules.nii.gz"))
    assert len(case.lung) == 5
    assert within(case.nodule, tmp_path) == [f"a_{end}/lung_nodules.nii.gz"]


def test_missing_lobes_are_noted(folder):
    case = only_case(folder("s1/ct.nii.gz", *lobes("s1/segmentations")[1:]))
    assert case.notes == ("lungs of 4 of TotalSegmentator's 5 lobes: without lung_upper_lobe_left",)


def test_lobes_without_a_ct_are_refused(folder):
    [reject] = folder(*lobes("a_total")).rejects
    assert (reject.case_id, "but no CT" in reject.problem) == ("a", True)


def test_luna16_pairs_scans_with_lung_masks_but_not_with_the_trachea(folder, tmp_path):
    uid = "1.3.6.1.4.1.14519.5.2.1.6279.6001.1"
    case = only_case(folder(f"subset0/{uid}.mhd", f"seg-lungs-LUNA16/{uid}.mhd"))
    assert case == SourceCase(
        case_id=uid,
        patient_id=uid,
        ct=f"{tmp_path}/subset0/{uid}.mhd",
        labels=f"{tmp_path}/seg-lungs-LUNA16/{uid}.mhd",
        label_roles=((3, LUNG), (4, LUNG)),
    )


def test_meta_images_by_name_are_cases_like_nifti(folder):
    case = only_case(folder("a_ct.mhd", "a_lung.mha", "a_nodule.nii.gz"))
    assert (len(case.lung), len(case.nodule)) == (1, 1)


def test_a_mask_of_lung_nodules_is_no_lung_mask(folder, tmp_path):
    found = folder("a_ct.nii", "a_lung.nii", "a_lung_nodules.nii", "a_lung_vessels.nii")
    [case] = found.cases
    assert within(case.lung, tmp_path) == ["a_lung.nii"]
    assert within(case.nodule, tmp_path) == ["a_lung_nodules.nii"]
    assert found.ignored == [f"{tmp_path}/a_lung_vessels.nii"]


def test_layouts_may_lie_side_by_side(folder, described):
    described()
    found = folder(
        "imagesTr/a_0000.nii.gz",
        "x/CT/b.nii.gz",
        "x/SEG/b.nii.gz",
        "c/ct.nii.gz",
        *lobes("c/segmentations"),
        "d_ct.nii.gz",
    )
    assert found.rejects == []
    assert [case.case_id for case in found.cases] == ["a", "b", "c", "d"]


def test_masks_in_or_beside_a_folder_of_dicom_files_are_its_own(folder, tmp_path):
    found = folder(
        "p1/dicom/p1_lung.nii.gz",
        "p1/dicom_nodule.nii.gz",
        "p1/tumor.nii.gz",
        *lobes("p1/dicom_total"),
        series=("p1/dicom",),
    )
    assert (found.cases, found.rejects, found.ignored) == ([], [], [])
    [(place, masks)] = found.series_masks.items()
    assert place == f"{tmp_path}/p1/dicom"
    assert within(masks.lung, tmp_path) == sorted(
        [*lobes("p1/dicom_total"), "p1/dicom/p1_lung.nii.gz"]
    )
    assert within(masks.nodule, tmp_path) == ["p1/dicom_nodule.nii.gz", "p1/tumor.nii.gz"]


def test_a_mask_beside_two_folders_of_dicom_files_is_of_neither(folder, tmp_path):
    found = folder("p/lung.nii.gz", "p/one_lung.nii.gz", series=("p/one", "p/two"))
    assert found.series_masks == {
        f"{tmp_path}/p/one": DrawnMasks(lung=(f"{tmp_path}/p/one_lung.nii.gz",))
    }
    assert found.ignored == [f"{tmp_path}/p/lung.nii.gz"]


def test_a_source_of_dicom_series_alone_has_no_cases_of_its_own(folder):
    assert folder(series=("p1",)).cases == []


def test_thousands_of_series_are_searched_for_masks_once_and_not_once_for_each():
    folders = [Path(f"/data/p{n:05d}/s1") for n in range(20_000)]
    masks, rest = beside_series.take([folders[7].with_name("lung.nii.gz")], folders)
    assert (list(masks), rest) == ([str(folders[7])], [])


@pytest.mark.parametrize("kind", KINDS)
def test_a_description_that_is_no_file_keeps_nobody_waiting(folder, tmp_path, kind):
    write_endless(tmp_path / "dataset.json", kind)
    with not_for_ever():
        found = folder("imagesTr/p1_0000.nii.gz", "labelsTr/p1.nii.gz")
    (reject,) = found.rejects
    assert f"dataset.json is a {kind} and no regular file; expected one" in reject.problem
