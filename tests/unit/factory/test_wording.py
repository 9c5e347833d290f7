"""Numbers and refusals as a sentence has them."""

import errno
import os

import pytest

from factory.counted import counted
from factory.refused import found_of


@pytest.mark.parametrize(
    ("num", "told"),
    [(0, "0 volumes"), (1, "1 volume"), (2, "2 volumes"), (1_234_567, "1,234,567 volumes")],
)
def test_one_volume_is_no_volumes(num: int, told: str) -> None:
    assert counted(num, "volume") == told


def test_a_plural_without_an_s_is_named() -> None:
    named = ("file or folder", "files or folders")
    assert [counted(num, *named) for num in (1, 3)] == ["1 file or folder", "3 files or folders"]


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (errno.ENOENT, "no such file or folder"),
        (errno.EISDIR, "a folder"),
        (errno.EACCES, "no permission"),
        (errno.ENOSPC, "no space left"),
        (errno.EIO, "input/output error"),
    ],
)
def test_what_the_system_refuses_goes_on_after_found(number: int, told: str) -> None:
    assert found_of(OSError(number, os.strerror(number), "x")) == told


def test_an_error_without_a_number_keeps_its_own_text() -> None:
    assert found_of(OSError("The server is gone")) == "The server is gone"
