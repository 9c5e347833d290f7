"""Diameters of new nodules follow the distribution that was asked for."""

from pathlib import Path

import numpy as np
import pytest

from factory.errors import UsageError
from factory.nodules.bank import load_bank
from factory.nodules.diameters import LIDC_QUANTILES_MM, Diameters, diameters_of


def drawn(text: str, low_mm: float = 0.0, high_mm: float = 1000.0) -> np.ndarray:
    return diameters_of(text).within(low_mm, high_mm)


def test_the_table_of_lidc_is_that_of_its_masks(ct_dir: Path) -> None:
    bank = load_bank(ct_dir / "nodules" / "node21_masks.npz")
    measured = np.quantile(bank.diameters_mm, np.linspace(0.0, 1.0, len(LIDC_QUANTILES_MM)))
    assert len(bank) == 1179
    assert pytest.approx(measured, abs=0.006) == LIDC_QUANTILES_MM


def test_half_of_the_nodules_of_lidc_are_smaller_than_7_mm() -> None:
    values = drawn("LIDC")
    assert np.median(values) == pytest.approx(7.33, abs=0.02)
    assert np.quantile(values, [0.05, 0.95]) == pytest.approx([4.66, 21.32], abs=0.1)
    assert values.min() >= 3.37
    assert values.max() <= 33.51


def test_a_uniform_distribution_is_even_between_its_bounds() -> None:
    values = drawn("uniform:4:20")
    assert np.quantile(values, [0.0, 0.25, 0.5, 1.0]) == pytest.approx([4, 8, 12, 20], abs=0.01)


def test_a_lognormal_has_its_median_and_its_sigma() -> None:
    values = np.log(drawn("lognormal:8:0.5"))
    assert np.exp(np.median(values)) == pytest.approx(8.0, abs=0.01)
    assert values.std() == pytest.approx(0.5, abs=0.01)


def test_bounds_cut_a_distribution_and_keep_its_shape() -> None:
    values = drawn("LIDC", 6.0, 10.0)
    whole = drawn("LIDC")
    assert values.tolist() == [v for v in whole.tolist() if 6.0 <= v <= 10.0]


def test_a_table_of_ones_own_is_followed(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text("id,diameter_mm\na,10\nb,4\nc,6\n")
    values = drawn(str(path))
    assert np.quantile(values, [0.0, 0.5, 1.0]) == pytest.approx([4, 6, 10], abs=0.01)
    path.write_text("diameter_mm\n7\n")
    assert set(drawn(str(path)).tolist()) == {7.0}


def test_the_digest_is_of_the_values_not_of_their_name(tmp_path: Path) -> None:
    one, two = tmp_path / "one.csv", tmp_path / "two.csv"
    one.write_text("diameter_mm\n4\n8\n")
    two.write_text("who,diameter_mm\nx,8\ny,4\n")
    assert diameters_of(str(one)).digest == diameters_of(str(two)).digest
    assert diameters_of(str(one)).digest == diameters_of("uniform:4:8").digest
    assert diameters_of("uniform:4:8").digest != diameters_of("uniform:4:9").digest


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gauss:8:2", "found 'gauss:8:2'; expected LIDC, uniform:LOW:HIGH"),
        ("LIDC:2", "found 'LIDC:2'; expected LIDC"),
        ("uniform:4", r"found 'uniform:4'; expected .* numbers above 0"),
        ("uniform:4:inf", "numbers above 0"),
        ("uniform:-4:8", "numbers above 0"),
        ("lognormal:a:b", "numbers above 0"),
        ("uniform:20:4", "expected the lower bound first"),
        ("none.csv", r"diameters none\.csv: cannot be read \(.*No such file"),
    ],
)
def test_what_names_no_distribution_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        diameters_of(text)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"size\n4\n", "found columns size; expected diameter_mm, in mm"),
        (b"diameter_mm\n4\nlarge\n", "line 3: found 'large'; expected a diameter above 0 mm"),
        (b"diameter_mm\n-4\n", "line 2: found '-4'; expected"),
        (b"diameter_mm\nnan\n", "line 2: found 'nan'; expected"),
        (b"a,diameter_mm\n4\n", "line 2: found None; expected"),
        (b"diameter_mm\n", "found no row; expected a diameter in mm in each"),
        (b"", "found columns none; expected"),
        (b"\xff\xfe\x00diameter_mm\n4\n", "cannot be read"),
    ],
)
def test_a_table_without_diameters_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "own.csv"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=message):
        diameters_of(str(path))


def test_nothing_between_the_bounds_is_an_error_that_names_both() -> None:
    with pytest.raises(
        ValueError, match=r"drawn from 4 to 8 mm, and none lies in the 9\.0 to 30\.0 mm"
    ):
        Diameters((4.0, 8.0)).within(9.0, 30.0)
