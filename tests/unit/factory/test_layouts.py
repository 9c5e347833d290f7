import numpy as np

from factory.layouts import (
    BACKGROUND,
    LABELS,
    LUNG,
    NODULE,
    compose_layout,
    labelled_voxels,
    layout_channels,
)

LAYOUT = np.array([[[0, 1, 2]]], np.uint8)


def test_labels_are_those_of_lung_ddpms_segmentations():
    assert (BACKGROUND, LUNG, NODULE) == (0, 1, 2)


def test_a_nodule_wins_over_the_lung_and_may_lie_outside_it():
    lung = np.array([[[True, True, False, False]]])
    nodule = np.array([[[False, True, True, False]]])
    layout = compose_layout(lung, nodule)
    assert layout.tolist() == [[[1, 2, 2, 0]]]
    assert layout.dtype == np.uint8


def test_composing_leaves_the_masks_as_they_were():
    lung, nodule = np.array([[[True, True]]]), np.array([[[False, True]]])
    compose_layout(lung, nodule)
    assert lung.tolist() == [[[True, True]]]


def test_the_network_sees_lung_then_nodule_as_minus_one_or_one():
    channels = layout_channels(LAYOUT)
    assert channels.dtype == np.float32
    assert channels.tolist() == [[[[-1.0, 1.0, -1.0]]], [[[-1.0, -1.0, 1.0]]]]


def test_a_model_of_nodules_alone_is_told_of_them_alone():
    assert list(LABELS) == ["lung", "nodule"]
    assert layout_channels(LAYOUT, ["nodule"]).tolist() == [[[[-1.0, -1.0, 1.0]]]]


def test_labelled_voxels_are_those_of_any_of_the_labels():
    assert labelled_voxels(LAYOUT, ["lung", "nodule"]).tolist() == [[[False, True, True]]]
    assert labelled_voxels(LAYOUT, ["nodule"]).tolist() == [[[False, False, True]]]
