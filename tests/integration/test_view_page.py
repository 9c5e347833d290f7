"""The page of `factory view` in a browser: Chromium, and a server on loopback.

Skipped where there is no Chromium. FACTORY_CHROMIUM names another than those that are looked for.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsers import check_contrast, windowed
from mix_sources import volume_of
from view_pages import HOSTILE, LUNG, PLANES, TORN, SeenView, hu_of
from view_sites import served

from jobs.view.server import Server
from jobs.view.voxels import first_voxel

pytestmark = pytest.mark.slow


def test_next_and_previous_show_other_volumes_by_button_and_by_key(
    open_view: Callable[..., SeenView],
) -> None:
    seen = open_view()
    seen.bare()
    pictures = {}
    for number in (0, 1, 2):
        seen.slide("axial", 1)
        expected = windowed(PLANES["axial"](hu_of(number), 1), LUNG)
        np.testing.assert_allclose(seen.voxels("axial")[..., 0], expected, atol=1)
        assert seen.text("#title") == f"A, draw {number}"
        assert seen.text("#status") == f"Row {number + 2}, {number + 1} of 60 in the list"
        pictures[number] = seen.picture("axial")
        if number < 2:
            step = [seen.page.locator("#next").click, lambda: seen.page.keyboard.press("n")][number]
            seen.go(step, number + 3)
    assert (pictures[0] != pictures[1]).any()
    seen.go(lambda: seen.page.keyboard.press("p"), 3)
    seen.go(seen.page.locator("#previous").click, 2)
    assert seen.page.locator("#previous").is_disabled()
    seen.press("p")
    assert seen.text("#title") == "A, draw 0"


def test_the_next_volume_may_be_in_the_next_piece_of_the_list(
    open_view: Callable[..., SeenView], view_server: Server
) -> None:
    seen = open_view(url=f"{view_server.url}#row=51")
    assert len(seen.titles()) == 50
    assert seen.text("#status") == "Row 51, 50 of 60 in the list"
    seen.go(seen.page.locator("#next").click, 52)
    assert seen.text("#status") == "Row 52, 51 of 60 in the list"
    assert seen.text("#matched") == "51\u201360 of 60 volumes"
    seen.go(seen.page.locator("#previous").click, 51)
    assert seen.text("#matched") == "1\u201350 of 60 volumes"
    seen.page.locator("#later").click()
    seen.matched("51\u201360 of 60")
    seen.page.locator("#earlier").click()
    seen.matched("1\u201350 of 60")
    assert seen.page.locator("#earlier").is_disabled()


def test_the_list_is_filtered_by_kind_verdict_and_text(open_view: Callable[..., SeenView]) -> None:
    seen = open_view()
    assert seen.text("#matched") == "1\u201350 of 60 volumes"
    seen.page.locator("#verdict").select_option("review")
    seen.matched("1\u20136 of 6 volumes")
    assert seen.titles() == [f"A, draw {number}" for number in (5, 15, 25, 35, 45, 55)]
    seen.page.locator("#text").fill("SEAM 3")
    seen.matched("1\u20131 of 1 volume")
    assert seen.titles() == ["A, draw 35"]
    seen.go(seen.page.locator("#next").click, 37)
    assert "seam 35" in seen.text("#facts")
    seen.page.locator("#text").fill("no such thing")
    seen.matched("No volume matches")
    assert seen.text("#status") == "Row 37, not in the list"
    assert seen.page.locator("#next").is_disabled()
    seen.page.locator("#text").fill("")
    seen.page.locator("#verdict").select_option("")
    seen.page.locator("#kind").select_option("real")
    seen.matched("1\u20132 of 2 volumes")
    assert seen.titles() == ["A", "B"]


def test_letters_are_keys_but_not_where_somebody_types_or_wants_none(
    open_view: Callable[..., SeenView],
) -> None:
    seen = open_view()
    seen.page.locator("#text").click()
    for key in "npobrc12":
        seen.press(key)
    assert seen.page.locator("#text").input_value() == "npobrc12"
    assert seen.text("#title") == "A, draw 0"
    assert seen.page.locator("#overlay").is_checked()
    seen.page.locator("#keys summary").click()
    seen.page.locator("#letters").uncheck()
    seen.press("o")
    assert seen.page.locator("#overlay").is_checked()
    seen.page.locator("#letters").check()
    seen.press("o")
    assert not seen.page.locator("#overlay").is_checked()


def test_a_torn_volume_is_told_and_stops_nothing(open_view: Callable[..., SeenView]) -> None:
    seen = open_view()
    for index in (3, 4, TORN + 2):
        seen.go(seen.page.locator("#next").click, index)
    trouble = seen.page.locator("#trouble")
    assert trouble.is_visible()
    assert "This volume cannot be shown: volume " in trouble.inner_text()
    assert not seen.page.locator("#volume").is_visible()
    assert seen.page.locator("#reference").is_visible()
    first = tuple(first_voxel(volume_of("A").layout))
    donor_hu = str(volume_of("A").ct[first]).replace("-", "\u2212")
    assert seen.text("#readout").startswith(f"reference {donor_hu} HU")
    seen.go(seen.page.locator("#next").click, TORN + 3)
    assert not trouble.is_visible()
    assert seen.page.locator("#volume").is_visible()
    assert not seen.page.locator("#reference").is_visible()
    # Chromium itself tells of the answer 422.
    assert [text for text in seen.told if "422" not in text] == []


def test_texts_of_a_manifest_stay_texts(
    open_view: Callable[..., SeenView], view_server: Server
) -> None:
    seen = open_view(url=f"{view_server.url}#row=7")
    assert HOSTILE in seen.text("#facts")
    assert seen.page.locator("#facts img, #facts script").count() == 0
    assert seen.page.title() == "a <b> & %20 #1 \u2013 factory view"
    assert seen.text("h1") == "a <b> & %20 #1"
    assert seen.told == []


def test_nothing_is_asked_of_another_host_and_the_console_is_empty(
    open_view: Callable[..., SeenView], view_server: Server
) -> None:
    seen = open_view()
    seen.go(seen.page.locator("#next").click, 3)
    for key in ("b", "2", "o", "c", "r"):
        seen.press(key)
    seen.page.locator("#text").fill("A")
    seen.matched("60 volumes")
    others = [url for url in seen.asked if not url.startswith((view_server.url, "data:"))]
    assert others == []
    assert seen.told == []


def test_a_page_that_is_loaded_again_shows_the_same_volume(
    open_view: Callable[..., SeenView],
) -> None:
    seen = open_view()
    seen.go(seen.page.locator("#next").click, 3)
    seen.page.reload()
    seen.page.locator("html[data-ready]").wait_for(state="attached")
    assert seen.text("#title") == "A, draw 1"
    assert seen.text("#status") == "Row 3, 2 of 60 in the list"


def test_an_address_of_a_row_that_the_list_leaves_out_shows_it_all_the_same(
    open_view: Callable[..., SeenView], view_server: Server
) -> None:
    seen = open_view(url=f"{view_server.url}#row=1")
    assert seen.text("#title") == "B"
    assert seen.text("#status") == "Row 1, 2 of 62 in the list"
    assert open_view(url=f"{view_server.url}#row=999").text("#title") == "A, draw 0"


def test_a_server_that_has_ended_is_told_with_the_way_out(
    open_view: Callable[..., SeenView], view_lake: Path
) -> None:
    with served(str(view_lake)) as own:
        seen = open_view(url=own.url)
    seen.page.locator("#next").click()
    seen.page.locator("#trouble", has_text="Run factory view again").wait_for()


def test_the_keyboard_alone_reaches_all_of_it(open_view: Callable[..., SeenView]) -> None:
    seen = open_view()
    order = []
    for _ in range(60):
        seen.page.keyboard.press("Tab")
        order.append(
            seen.page.evaluate(
                "(({ id, dataset, innerText }) => id || dataset.index || innerText)(document.activeElement)"
            )
        )
        outline = seen.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline in ("solid", "auto"), order[-1]
        if order[-1] == "volume-sagittal-slice":
            break
    assert order[0] == "Skip to the volume"
    assert order[1:5] == ["kind", "verdict", "text", "2"]
    wanted = ["later", "next", "overlay", "opacity", "crosshair", "volume-axial"]
    assert [name for name in order if name in wanted] == wanted
    seen.page.locator("#rows button[aria-current]").focus()
    seen.go(lambda: seen.page.keyboard.press("ArrowDown"), 3)
    seen.page.locator("#rows button[data-index='3']:focus").wait_for()
    seen.go(lambda: seen.page.keyboard.press("ArrowUp"), 2)


@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_is_as_wide_as_the_window(open_view: Callable[..., SeenView], width: int) -> None:
    seen = open_view(width)
    for key in ("v", "b"):
        seen.press(key)
        for details in seen.page.locator("details").all():
            details.evaluate("one => { one.open = true; }")
        assert seen.page.evaluate("document.documentElement.scrollWidth") == width
        beyond = seen.page.evaluate(
            "[...document.querySelectorAll('body *')].filter(one => !one.closest('.skip, #rows')"
            f" && one.getBoundingClientRect().right > {width} + 1).map(one => one.outerHTML.slice(0, 80))"
        )
        assert beyond == []
        for canvas in seen.page.locator("canvas:visible").all():
            assert canvas.bounding_box()["width"] > 100


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out_from_what_is_behind_them(
    open_view: Callable[..., SeenView], scheme: str
) -> None:
    check_contrast(open_view(color_scheme=scheme).page)


def test_every_control_has_a_name(open_view: Callable[..., SeenView]) -> None:
    seen = open_view()
    seen.press("b")
    seen.page.locator("#keys summary").click()
    nameless = seen.page.evaluate(
        "[...document.querySelectorAll('button, select, input, canvas')].filter(one => !(one.innerText || "
        "one.getAttribute('aria-label') || [...(one.labels || [])].some(label => label.innerText.trim())))"
        ".map(one => one.outerHTML)"
    )
    assert nameless == []


def test_a_page_without_scripts_says_what_is_missing(browser: Any, view_server: Server) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(view_server.url)
    assert "Volumes need JavaScript" in page.locator("noscript").inner_text()
    context.close()
