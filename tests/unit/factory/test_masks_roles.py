import pytest

from factory.ingest.masks.roles import role_of
from factory.layouts import BACKGROUND, LUNG, NODULE


@pytest.mark.parametrize(
    "name",
    [
        "Lung_L",
        "LUNG RT",
        "Left lung",
        "lungs",
        "Lung-Right",
        "Lungs-GTV",
        "lung_minus_gtv",
        "Upper lobe of left lung",
        "Lungs-Total",
        "lung_upper_lobe_left",
    ],
)
def test_lungs_are_known_by_the_names_that_planning_systems_give_them(name):
    assert role_of(name) == LUNG


@pytest.mark.parametrize(
    "name",
    [
        "GTV",
        "GTV-1",
        "gtvp",
        "GTV_50%",
        "Nodule 1 - Annotation 3",
        "lung nodule",
        "Lung Cancer",
        "Neoplasm, Primary",
        "tumour",
        "TUMOR",
        "Mass",
        "lung_lesion",
        "Pleural nodule",
    ],
)
def test_nodules_and_tumours_are_known_even_where_their_name_says_lung(name):
    assert role_of(name) == NODULE


@pytest.mark.parametrize(
    "name",
    [
        "Heart",
        "SpinalCord",
        "lung_vessels",
        "lung_trachea_bronchia",
        "GTVn",
        "GTV-N2",
        "GTV_nodes",
        "PTV_60",
        "CTV lung",
        "ITV",
        "Lymph node",
        "liver lesion",
        "Kidney tumor",
        "Frontal lobe",
        "",
        "ROI-1",
        "Pulmonary artery",
        "BODY",
        "Pleural effusion",
    ],
)
def test_what_is_neither_or_might_be_something_else_is_left_out(name):
    assert role_of(name) == BACKGROUND


def test_all_that_is_said_of_a_structure_counts():
    assert role_of("Segment 1", "Lung") == LUNG
    assert role_of("Lung", "Nodule") == NODULE
    assert role_of("Lesion 2", "Lesion", "Liver") == BACKGROUND


@pytest.mark.parametrize("what", ["Consolidation", "Emphysema", "Ground glass", "Segment 1"])
def test_what_lies_in_the_lung_is_not_the_lung(what):
    assert role_of(what, what, regions=["Left lung"]) == BACKGROUND


def test_where_a_nodule_lies_decides_whether_it_is_one_of_the_lung():
    assert role_of("1", "Nodule", regions=["Lung"]) == NODULE
    assert role_of("1", "Lesion", regions=["Liver"]) == BACKGROUND
    assert role_of("1", "Lung", regions=["Lung"]) == LUNG
