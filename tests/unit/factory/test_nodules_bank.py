import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from factory.errors import StoreError
from factory.nodules import archive
from factory.nodules.bank import NoduleBank, embedded_bank, largest_piece, load_bank

NODE21 = Path(os.environ.get("FACTORY_CT_DIR", "../shared/ct")) / "nodules" / "node21_masks.npz"


def cube(edge: int, *, at: int = 10, size: int = 50) -> np.ndarray:
    mask = np.zeros((size,) * 3, dtype=bool)
    mask[at : at + edge, at : at + edge, at : at + edge] = True
    return mask


def save_packed(path: Path, masks: list[np.ndarray], names: list[str]) -> Path:
    np.savez(path, packed=np.stack([np.packbits(mask) for mask in masks]), names=np.array(names))
    return path


def test_the_embedded_bank_covers_five_to_thirty_mm():
    diameters = embedded_bank().diameters_mm
    assert len(diameters) == 24
    assert diameters.min() == pytest.approx(5.0, abs=0.2)
    assert 28.0 < diameters.max() <= 30.0
    assert np.sum(diameters < 11) >= 10


def test_the_embedded_bank_is_the_same_on_every_machine():
    expected = "f728a37d3c45"
    assert embedded_bank().digest.startswith(expected)
    assert embedded_bank.__wrapped__().digest.startswith(expected)


def test_every_embedded_nodule_is_one_piece_and_none_repeats_another():
    bank = embedded_bank()
    assert all((largest_piece(mask) == mask).all() for mask in bank.masks)
    assert len({mask.tobytes() for mask in bank.masks}) == len(set(bank.names)) == 24


def test_spiculated_nodules_have_more_surface_than_ellipsoids_of_their_volume():
    bank = embedded_bank()

    def faces(name: str) -> int:
        mask = np.pad(bank.masks[bank.names.index(name)], 1)
        return sum(int(np.count_nonzero(np.diff(mask, axis=axis))) for axis in range(3))

    assert faces("spiculated-20mm") > 1.1 * faces("ellipsoid-20mm")


def test_shapes_of_a_bank_cannot_be_changed_by_accident():
    with pytest.raises(ValueError, match="read-only"):
        embedded_bank().masks[0][0, 0, 0] = True


def test_a_packed_bank_gives_back_its_masks_cut_to_their_boxes(tmp_path):
    ramp = cube(6)
    ramp[10, 10, 10:13] = False
    bank = load_bank(save_packed(tmp_path / "bank.npz", [ramp, cube(3)], ["a", "b"]))
    assert bank.names == ("a", "b")
    np.testing.assert_array_equal(bank.masks[0], ramp[10:16, 10:16, 10:16])
    assert bank.masks[1].shape == (3, 3, 3)
    assert bank.spacing_mm == 1.0


def test_plain_masks_are_measured_at_their_spacing(tmp_path):
    path = tmp_path / "bank.npz"
    np.savez(path, masks=np.stack([cube(4, size=20)]).astype(np.uint8) * 255, spacing_mm=0.5)
    bank = load_bank(path)
    assert bank.diameters_mm == pytest.approx([np.cbrt(6 / np.pi * 8.0)])
    assert bank.names == ("mask-0000",)


def test_three_equal_spacings_are_one_isotropic_spacing(tmp_path):
    np.savez(tmp_path / "bank.npz", masks=cube(4, size=20)[None], spacing_mm=[2.0, 2.0, 2.0])
    assert load_bank(tmp_path / "bank.npz").spacing_mm == 2.0


def test_empty_masks_are_left_out_with_their_names_and_counted(tmp_path):
    masks = [cube(3), np.zeros((50, 50, 50), bool), cube(5)]
    bank = load_bank(save_packed(tmp_path / "bank.npz", masks, ["a", "empty", "c"]))
    assert bank.names == ("a", "c")
    assert bank.num_empty == 1


def test_specks_beside_a_nodule_are_not_part_of_its_shape(tmp_path):
    mask = cube(4) | cube(2, at=30)
    bank = load_bank(save_packed(tmp_path / "bank.npz", [mask], ["a"]))
    assert bank.masks[0].shape == (4, 4, 4)


def test_the_digest_follows_shapes_and_spacing_and_not_names():
    mask = np.ones((2, 3, 4), dtype=bool)
    digest = NoduleBank((mask,), ("a",)).digest
    assert digest == NoduleBank((mask.copy(),), ("b",)).digest
    assert digest != NoduleBank((mask,), ("a",), spacing_mm=2.0).digest
    assert digest != NoduleBank((mask.reshape(4, 3, 2),), ("a",)).digest
    assert digest != NoduleBank((mask, mask), ("a", "b")).digest


def test_a_bank_with_other_keys_names_them_and_the_expected_ones(tmp_path):
    path = tmp_path / "bank.npz"
    np.savez(path, packed=np.zeros((1, 15625), np.uint8), shapes=np.zeros(3))
    with pytest.raises(StoreError, match=r"bank\.npz: found keys \['packed', 'shapes'\]") as caught:
        load_bank(path)
    assert "expected `packed` (n, 15625) uint8" in str(caught.value)
    assert "np.savez" in str(caught.value)


def test_a_missing_bank_points_to_the_embedded_one(tmp_path):
    with pytest.raises(StoreError, match=r"nowhere\.npz: no such file.*embedded bank"):
        load_bank(tmp_path / "nowhere.npz")


@pytest.mark.parametrize("fraction", [0.0, 0.3, 0.6, 0.99])
def test_a_truncated_bank_is_named_and_not_a_traceback(tmp_path, fraction):
    path = save_packed(tmp_path / "bank.npz", [cube(3)] * 4, list("abcd"))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * fraction)])
    with pytest.raises(StoreError, match=r"bank\.npz: cannot be read .*download it again"):
        load_bank(path)


def test_a_flipped_byte_in_a_bank_is_noticed(tmp_path):
    path = save_packed(tmp_path / "bank.npz", [cube(3)] * 4, list("abcd"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(bytes(content))
    with pytest.raises(StoreError, match="cannot be read"):
        load_bank(path)


def test_pickled_objects_are_never_loaded(tmp_path):
    path = tmp_path / "bank.npz"
    np.savez(path, masks=np.array([object()], dtype=object))
    with pytest.raises(StoreError, match=r"cannot be read .*without pickled objects"):
        load_bank(path)


def test_a_single_array_is_told_how_to_become_a_bank(tmp_path):
    path = tmp_path / "bank.npy"
    np.save(path, np.zeros((2, 4, 4, 4)))
    with pytest.raises(StoreError, match=r"single array of shape \(2, 4, 4, 4\).*np\.savez"):
        load_bank(path)


def _npy_of(shape: tuple[int, ...]) -> bytes:
    file = io.BytesIO()
    header = {"descr": "|b1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue()


def test_a_shape_that_no_memory_holds_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "bank.npz", "w") as packed:
        packed.writestr("masks.npy", _npy_of((2**60,)))
    with pytest.raises(StoreError, match=r"bank\.npz: cannot be read .*expected a whole"):
        load_bank(tmp_path / "bank.npz")
    (tmp_path / "bank.npy").write_bytes(_npy_of((2**60,)))
    with pytest.raises(StoreError, match=r"bank\.npy: cannot be read .*expected a whole"):
        load_bank(tmp_path / "bank.npy")


@pytest.mark.parametrize(
    ("local", "central", "value", "problem"),
    [(6, 8, 1, "encrypted"), (8, 10, 99, "compression method is not supported")],
)
def test_a_locked_archive_and_one_of_an_unknown_packer_are_named(
    tmp_path, local, central, value, problem
):
    path = save_packed(tmp_path / "bank.npz", [cube(3)], ["a"])
    content = bytearray(path.read_bytes())
    content[local] = value
    content[content.index(b"PK\x01\x02") + central] = value
    path.write_bytes(bytes(content))
    with pytest.raises(StoreError, match=rf"bank\.npz: cannot be read \(.*{problem}"):
        load_bank(path)


def test_an_archive_that_unpacks_to_too_much_is_refused_before_it_does(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "bank.npz", masks=np.ones((2, 40, 40, 40), bool), other=[1])
    monkeypatch.setattr(archive, "_BYTES_AT_MOST", 128_128)
    assert len(load_bank(tmp_path / "bank.npz")) == 2
    monkeypatch.setattr(archive, "_BYTES_AT_MOST", 128_127)
    with pytest.raises(
        StoreError, match=r"unpacks to 128128 bytes, expected at most 128127\. Crop"
    ):
        load_bank(tmp_path / "bank.npz")


@pytest.mark.parametrize(
    ("arrays", "problem"),
    [
        ({"packed": np.zeros((2, 100), np.uint8), "names": ["a", "b"]}, r"expected uint8 \(n, 15"),
        ({"masks": np.zeros((2, 4, 4))}, r"`masks` is float64 \(2, 4, 4\), expected bool"),
        ({"masks": np.full((2, 4, 4, 4), 0.5)}, "Cut probabilities at a threshold first"),
        (
            {"masks": np.ones((1, 4, 4, 4), bool), "spacing_mm": [1.0, 1.0, 2.5]},
            r"`spacing_mm` is \[1\.0, 1\.0, 2\.5\], expected one positive number",
        ),
        ({"masks": np.ones((1, 4, 4, 4), bool), "spacing_mm": 0.0}, "expected one positive"),
        (
            {"masks": np.ones((2, 4, 4, 4), bool), "names": ["a"]},
            r"`names` has shape \(1,\), expected \(2,\)",
        ),
        ({"masks": np.zeros((2, 4, 4, 4), bool)}, "all 2 masks are empty"),
    ],
)
def test_a_bank_that_is_not_what_it_says_names_what_is_wrong(tmp_path, arrays, problem):
    np.savez(tmp_path / "bank.npz", **arrays)
    with pytest.raises(StoreError, match=problem):
        load_bank(tmp_path / "bank.npz")


@pytest.mark.skipif(not NODE21.exists(), reason=f"no real nodules at {NODE21}")
def test_the_nodules_of_node21_are_read_whole():
    bank = load_bank(NODE21)
    assert (len(bank), bank.num_empty) == (1179, 0)
    assert np.median(bank.diameters_mm) == pytest.approx(7.3, abs=0.2)
    assert bank.names[0].endswith(".100225287222365663678666836860_0")
