"""The 3D page of `factory view`: NiiVue shows the voxels that the lake has, where they lie.

Skipped where there is no Chromium, or no NiiVue, which `make niivue` brings.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from browsers import WITH_WEBGL, Seen, opening, running_browser
from mix_sources import AFFINE, SHAPE, drawn, volume_of
from PIL import Image
from view_pages import TORN, SeenView

from factory.axes import ras_from_zyx
from jobs.view.server import Server
from jobs.view.voxels import first_voxel

pytestmark = pytest.mark.slow

NIIVUE = Path(__file__).parents[2] / "jobs" / "view" / "page" / "niivue.js"
FIRST = 2
"""Row of the first draw."""


@pytest.fixture(scope="module")
def webgl_browser() -> Iterator[Any]:
    if not NIIVUE.is_file():
        pytest.skip("no NiiVue here; make niivue brings it")
    yield from running_browser(WITH_WEBGL)


@pytest.fixture
def open_solid(webgl_browser: Any, view_server: Server) -> Iterator[Callable[..., Seen]]:
    """What opens the page of a row."""
    with opening(webgl_browser, view_server.url, Seen) as opened:
        yield lambda row, **settings: opened(
            url=f"{view_server.url}solid.html#row={row}", **settings
        )


def shown(seen: Seen, row: int) -> str:
    """Return what is told of the crosshair once a row is drawn."""
    seen.page.locator(f'html[data-drawn="{row}"]').wait_for(state="attached")
    return str(seen.page.locator("#readout").inner_text()).replace("\u2212", "-")


def expected(row: int) -> str:
    """Return what it is to tell at the voxel that is shown first."""
    volume = volume_of(str(drawn("A", row - FIRST)["work_id"]))
    voxel = tuple(first_voxel(volume.layout))
    label = ["background", "lung", "nodule"][volume.layout[voxel]]
    ras = ras_from_zyx(AFFINE, voxel)
    placed = ", ".join(
        f"{pair[mm < 0]} {abs(mm):.1f}" for pair, mm in zip(("RL", "AP", "SI"), ras, strict=True)
    )
    return f"{volume.ct[voxel]} HU, {label} at {placed} mm"


def test_the_crosshair_tells_the_hu_the_label_and_the_place_that_the_lake_has(
    open_solid: Callable[..., Seen], view_server: Server
) -> None:
    seen = open_solid(FIRST)
    assert shown(seen, FIRST) == expected(FIRST)
    assert seen.page.locator("#title").inner_text() == "A, draw 0"
    seen.page.locator("#next").click()
    assert shown(seen, FIRST + 1) == expected(FIRST + 1) != expected(FIRST)
    assert not seen.told
    assert {urlsplit(one).netloc for one in seen.asked} == {urlsplit(view_server.url).netloc}


def test_every_voxel_reaches_niivue_as_it_is(open_solid: Callable[..., Seen]) -> None:
    seen = open_solid(FIRST)
    shown(seen, FIRST)
    volume = volume_of(str(drawn("A", 0)["work_id"]))
    found = seen.page.evaluate("() => globalThis.viewer.volumes.map((one) => Array.from(one.img))")
    np.testing.assert_array_equal(np.reshape(found[0], SHAPE), volume.ct)
    np.testing.assert_array_equal(np.reshape(found[1], SHAPE), volume.layout)
    affine = seen.page.evaluate("() => globalThis.viewer.volumes[0].hdr.affine")
    np.testing.assert_allclose(affine, AFFINE, rtol=1e-6)


def test_window_and_layout_change_the_picture(
    open_solid: Callable[..., Seen], tmp_path: Path
) -> None:
    seen = open_solid(FIRST)
    shown(seen, FIRST)

    def picture() -> np.ndarray:
        seen.page.locator("#gl").screenshot(path=tmp_path / "shot.png")
        with Image.open(tmp_path / "shot.png") as image:
            return np.asarray(image.convert("RGB")).astype(int)

    first = picture()
    seen.page.locator("#overlay").uncheck()
    bare = picture()
    seen.page.get_by_role("button", name=re.compile("Mediastinum")).click()
    assert (np.abs(first - bare) > 20).any()
    assert (np.abs(bare - picture()) > 20).any()


def test_what_cannot_be_read_is_told_and_the_next_volume_is_there(
    open_solid: Callable[..., Seen],
) -> None:
    seen = open_solid(FIRST + TORN - 1)
    assert shown(seen, FIRST + TORN - 1) == expected(FIRST + TORN - 1)
    seen.page.locator("#next").click()
    assert shown(seen, FIRST + TORN) == ""
    assert "This volume cannot be shown: volume" in seen.page.locator("#trouble").inner_text()
    seen.page.locator("#next").click()
    assert shown(seen, FIRST + TORN + 1) == expected(FIRST + TORN + 1)
    assert seen.page.locator("#trouble").is_hidden()


def test_without_niivue_the_page_says_how_to_get_it(
    webgl_browser: Any, view_server: Server
) -> None:
    context = webgl_browser.new_context()
    page = context.new_page()
    page.route("**/niivue.js", lambda route: route.fulfill(status=404, body="not installed"))
    page.goto(f"{view_server.url}solid.html#row={FIRST}")
    page.locator("html[data-ready]").wait_for(state="attached")
    assert "Run make niivue" in page.locator("#trouble").inner_text()
    assert page.locator("#back").get_attribute("href") == f"./#row={FIRST}"
    context.close()


def test_the_planes_lead_to_the_volume_in_3d_and_it_steps_by_their_filter(
    webgl_browser: Any, view_server: Server
) -> None:
    with opening(webgl_browser, view_server.url, SeenView) as opened:
        seen = opened()
        seen.page.locator("#verdict").select_option("review")
        seen.matched("1\u20136 of 6 volumes")
        seen.go(seen.page.locator("#next").click, FIRST + 5)
        seen.page.locator("#solid").click()
        assert shown(seen, FIRST + 5) == expected(FIRST + 5)
        told = "1 of 6 by the list's filter: synthetic, review"
        assert seen.page.locator("#status").inner_text() == told
        assert seen.page.locator("#previous").is_disabled()
        seen.page.locator("#next").click()
        assert shown(seen, FIRST + 15) == expected(FIRST + 15)
        seen.page.locator("#back").click()
        seen.matched("1\u20136 of 6 volumes")
        seen.page.locator("html[data-ready]").wait_for(state="attached")
        assert seen.page.locator("#title").inner_text() == "A, draw 15"
        assert seen.page.locator("#verdict").input_value() == "review"


def test_a_row_that_the_filter_has_not_is_shown_and_the_filter_stays(
    webgl_browser: Any, view_server: Server
) -> None:
    with opening(webgl_browser, view_server.url, SeenView) as opened:
        seen = opened()
        seen.page.locator("#verdict").select_option("review")
        seen.matched("1\u20136 of 6 volumes")
        seen.page.locator("#solid").click()
        assert shown(seen, FIRST) == expected(FIRST)
        told = "Not among the 6 by the list's filter: synthetic, review"
        assert seen.page.locator("#status").inner_text() == told
        seen.page.locator("#back").click()
        seen.matched("1\u20136 of 6 volumes")
        seen.page.locator("html[data-ready]").wait_for(state="attached")
        assert seen.page.locator("#status").inner_text() == f"Row {FIRST}, not in the list"
        seen.page.locator("#solid").click()
        shown(seen, FIRST)
        seen.page.locator("#previous").click()
        assert shown(seen, FIRST + 55) == expected(FIRST + 55)


def test_an_address_without_a_row_begins_with_the_first_of_the_filter(
    open_solid: Callable[..., Seen], view_server: Server
) -> None:
    seen = open_solid(FIRST)
    shown(seen, FIRST)
    seen.page.goto(f"{view_server.url}solid.html?verdict=review")
    assert shown(seen, FIRST + 5) == expected(FIRST + 5)
    seen.page.goto(f"{view_server.url}solid.html?verdict=reject")
    seen.page.locator("html[data-ready]").wait_for(state="attached")
    assert seen.page.locator("#trouble").inner_text() == "No volume matches the list's filter."
    assert seen.page.locator("#next").is_disabled()


def test_a_row_that_is_written_into_the_address_is_shown(open_solid: Callable[..., Seen]) -> None:
    seen = open_solid(FIRST)
    shown(seen, FIRST)
    seen.page.evaluate("() => { location.hash = '#row=9'; }")
    assert shown(seen, 9) == expected(9)
    seen.page.evaluate("() => { location.hash = '#row=999'; }")
    seen.page.locator("#trouble:not([hidden])").wait_for()
    assert "there is no row 999" in seen.page.locator("#trouble").inner_text()


def test_letters_are_the_keys_of_the_planes_unless_somebody_wants_none(
    open_solid: Callable[..., Seen],
) -> None:
    seen = open_solid(FIRST)
    shown(seen, FIRST)
    seen.page.keyboard.press("n")
    assert shown(seen, FIRST + 1) == expected(FIRST + 1)
    seen.page.locator("#gl").focus()
    for key in "o2c":
        seen.page.keyboard.press(key)
    assert not seen.page.locator("#overlay").is_checked()
    assert not seen.page.locator("#crosshair").is_checked()
    assert (
        seen.page.locator("button[data-window=mediastinum]").get_attribute("aria-pressed") == "true"
    )
    assert seen.page.evaluate("() => globalThis.viewer.opts.crosshairWidth") == 0
    seen.page.locator("#letters").uncheck()
    seen.page.keyboard.press("p")
    seen.page.locator("#letters").check()
    seen.page.keyboard.press("p")
    assert shown(seen, FIRST) == expected(FIRST)
    assert seen.page.locator("#previous").is_enabled()


def test_a_step_that_fails_skips_no_volume(open_solid: Callable[..., Seen]) -> None:
    seen = open_solid(FIRST)
    shown(seen, FIRST)
    seen.page.route("**/rows?*", lambda route: route.abort(), times=1)
    seen.page.locator("#next").click()
    seen.page.locator("#trouble:not([hidden])").wait_for()
    seen.page.locator("#next").click()
    assert shown(seen, FIRST + 1) == expected(FIRST + 1)


def test_steps_that_overtake_each_other_leave_one_volume(open_solid: Callable[..., Seen]) -> None:
    seen = open_solid(FIRST)
    shown(seen, FIRST)
    for by in (5, 7, 9):
        seen.page.evaluate(
            "(times) => { for (let i = 0; i < times; i += 1) document.getElementById('next').click(); }",
            by,
        )
    assert shown(seen, FIRST + 21) == expected(FIRST + 21)
    found = seen.page.evaluate("() => globalThis.viewer.volumes.map((one) => Array.from(one.img))")
    assert len(found) == 2
    volume = volume_of(str(drawn("A", 21)["work_id"]))
    np.testing.assert_array_equal(np.reshape(found[0], SHAPE), volume.ct)
