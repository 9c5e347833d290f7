"""The page of `factory report` in a browser: Chromium, opened from disk, with no network.

Skipped where there is no Chromium. FACTORY_CHROMIUM names another than those that are looked for.
"""

import base64
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsers import Seen, check_contrast, opening, windowed
from PIL import Image
from report_pages import made_lake, slices_of, unpacked

from factory.lake import MANIFEST
from jobs.report.job import report
from manifests.read import read_manifest
from manifests.write import write_manifest

pytestmark = pytest.mark.slow

WIDTHS = (1280, 400)
LUNG, MEDIASTINUM = (-600, 1500), (40, 400)


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory, model_16: Path) -> Path:
    """The page of two volumes, with everything in it that it can have, hostile texts among it."""
    folder = tmp_path_factory.mktemp("report") / "a <b> & %20 #1"
    lake = made_lake(folder, model_16)
    rows = read_manifest(lake / MANIFEST).to_pylist()
    for row in rows:
        if row["kind"] == "synthetic":
            row["qc_verdict"] = "review"
        row["notes"] = ["<script>document.title = 'broken'</script>", "x" * 300]
    write_manifest(rows, lake / MANIFEST)
    (folder / "evaluation" / "tables").mkdir(parents=True)
    wide = "| " + " | ".join(f"a rather wide heading {n}" for n in range(12)) + " |\n"
    (folder / "evaluation" / "tables" / "table2.md").write_text(wide)
    report(str(lake), count=2, evaluation=folder / "evaluation")
    return lake / "report.html"


@dataclass
class SeenReport(Seen):
    """The page of `factory report`, open."""

    def pixels(self, panel: str, number: int = 1) -> np.ndarray:
        """Return a canvas, a colour for each voxel."""
        # The middle of each: 32 pixels an edge, and lines lie between voxels.
        return self.picture(panel, number)[16::32, 16::32]

    def picture(self, panel: str, number: int = 1) -> np.ndarray:
        """Return a canvas, a colour for each of its pixels."""
        canvas = self.page.locator(f"#volume-{number} canvas[data-panel={panel}]")
        url = canvas.evaluate("canvas => canvas.toDataURL('image/png')")
        with Image.open(BytesIO(base64.b64decode(url.partition(",")[2]))) as picture:
            return np.asarray(picture.convert("RGB"))

    @property
    def slider(self) -> Any:
        return self.page.locator("#volume-1-slice")

    def focused(self) -> str:
        found: str = self.page.evaluate(
            "document.activeElement.id || document.activeElement.innerText"
        )
        return found


@pytest.fixture
def open_page(browser: Any, page_file: Path) -> Iterator[Callable[..., SeenReport]]:
    with opening(browser, page_file.as_uri(), SeenReport) as opened:
        yield opened


def expected_slices(page_file: Path) -> tuple[np.ndarray, np.ndarray, int]:
    """Return reference and synthetic HU of the first volume, and the slice that is shown first."""
    content = slices_of(page_file)
    reference = unpacked(content["reference"], content["shape"])
    return reference, reference + unpacked(content["synthetic"], content["shape"]), content["first"]


def without_letters(picture: np.ndarray) -> np.ndarray:
    """Leave out the rows that R and L stand in."""
    return picture[3:].astype(np.float64)


def test_what_is_drawn_are_the_hu_of_the_slice_in_the_window(
    open_page: Any, page_file: Path
) -> None:
    seen = open_page()
    reference, synthetic, first = expected_slices(page_file)
    for window, name in ((LUNG, "lung"), (MEDIASTINUM, "mediastinum")):
        seen.page.locator(f"#volume-1 button[data-window={name}]").click()
        for panel, hu in (("reference", reference), ("synthetic", synthetic)):
            found = without_letters(seen.pixels(panel))
            expected = without_letters(windowed(hu[first], window))
            for channel in range(3):
                np.testing.assert_allclose(found[..., channel], expected, atol=1)


def test_the_difference_is_grey_where_there_is_none_and_lighter_where_more(
    open_page: Any, page_file: Path
) -> None:
    seen = open_page()
    reference, synthetic, first = expected_slices(page_file)
    rest = without_letters(synthetic[first].astype(int) - reference[first])
    found = without_letters(seen.pixels("difference"))
    assert (found[rest == 0] == (124, 123, 120)).all()
    lightness = found.sum(axis=-1)
    assert lightness[rest < -100].max() < 367 < lightness[rest > 100].min()


def test_the_slider_moves_through_the_slices(open_page: Any, page_file: Path) -> None:
    seen = open_page()
    reference, _, _ = expected_slices(page_file)
    for index in (0, 7, 15):
        seen.slider.fill(str(index))
        found = without_letters(seen.pixels("reference"))[..., 0]
        np.testing.assert_allclose(found, without_letters(windowed(reference[index], LUNG)), atol=1)
        assert seen.page.locator("#volume-1 output").inner_text().startswith(f"z = {index}")
        assert seen.slider.get_attribute("aria-valuetext").startswith(f"z = {index}")


def test_each_volume_has_controls_of_its_own(open_page: Any) -> None:
    seen = open_page()
    before = seen.pixels("synthetic", 2)
    seen.page.locator("#volume-1 button[data-window=mediastinum]").click()
    seen.slider.fill("3")
    np.testing.assert_array_equal(seen.pixels("synthetic", 2), before)
    pressed = seen.page.locator("button[aria-pressed=true]").all_inner_texts()
    assert [text.split()[0] for text in pressed] == ["Mediastinum", "Lung"]


def test_the_keyboard_reaches_the_slider_and_arrow_keys_move_it(open_page: Any) -> None:
    seen = open_page()
    order = []
    for _ in range(60):
        seen.page.keyboard.press("Tab")
        order.append(seen.focused())
        if order[-1] == "volume-1-slice":
            break
    assert order[0] == "Skip to the report"
    assert order[1:3] == ["Summary", "What was made"]
    assert order[-1] == "volume-1-slice"
    before, picture = int(seen.slider.input_value()), seen.pixels("synthetic")
    seen.page.keyboard.press("ArrowLeft")
    assert int(seen.slider.input_value()) == before - 1
    assert (seen.pixels("synthetic") != picture).any()
    seen.page.keyboard.press("ArrowRight")
    np.testing.assert_array_equal(seen.pixels("synthetic"), picture)
    outline = seen.slider.evaluate("one => getComputedStyle(one).outlineStyle")
    assert outline == "solid"
    seen.page.keyboard.press("Tab")
    assert seen.focused().startswith("Lung")
    seen.page.keyboard.press("Tab")
    seen.page.keyboard.press("Enter")
    assert (seen.pixels("synthetic") != picture).any()


def test_a_nodule_is_outlined_along_all_edges_of_its_voxels(
    open_page: Any, page_file: Path
) -> None:
    content = slices_of(page_file)
    labels = np.frombuffer(zlib.decompress(base64.b64decode(content["layout"])), np.uint8)
    nodule = labels.reshape(content["shape"])[content["first"]] == 2
    picture = open_page().picture("layout")
    across = np.argwhere(nodule[:, 1:] != nodule[:, :-1])
    along = np.argwhere(nodule[1:] != nodule[:-1])
    assert len(across) > 1
    assert len(along) > 1
    for y, x in across:
        assert tuple(picture[32 * y + 16, 32 * (x + 1)]) == (255, 210, 31)
    for y, x in along:
        assert tuple(picture[32 * (y + 1), 32 * x + 16]) == (255, 210, 31)


def test_the_outline_is_drawn_in_all_four_where_it_is_asked_for(open_page: Any) -> None:
    seen = open_page()
    picture = "canvas => canvas.toDataURL()"
    canvases = seen.page.locator("#volume-1 canvas")
    before = [one.evaluate(picture) for one in canvases.all()]
    seen.page.locator("#volume-1 input[type=checkbox]").check()
    changed = [
        one.evaluate(picture) != old for one, old in zip(canvases.all(), before, strict=True)
    ]
    assert changed == [True, False, True, True]


def test_the_pointer_reads_the_hu_of_a_voxel(open_page: Any, page_file: Path) -> None:
    seen = open_page()
    reference, synthetic, first = expected_slices(page_file)
    canvas = seen.page.locator("#volume-1 canvas[data-panel=difference]")
    box = canvas.bounding_box()
    canvas.hover(position={"x": box["width"] * 10.5 / 16, "y": box["height"] * 4.5 / 16})
    told = seen.page.locator("#volume-1 .readout").inner_text()
    assert told.startswith(
        f"reference {reference[first, 4, 10]} HU, synthetic {synthetic[first, 4, 10]} HU, "
    )


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_is_as_wide_as_the_window_and_only_tables_scroll(
    open_page: Any, width: int
) -> None:
    seen = open_page(width)
    root = "document.documentElement"
    for details in seen.page.locator("details").all():
        details.evaluate("one => { one.open = true; }")
    assert seen.page.evaluate(f"{root}.scrollWidth") == width
    beyond = seen.page.evaluate(
        "[...document.querySelectorAll('body *')].filter(one => !one.closest('.scroll, .skip, defs')"
        f" && one.getBoundingClientRect().right > {width} + 1).map(one => one.outerHTML.slice(0, 80))"
    )
    assert beyond == []
    for canvas in seen.page.locator("canvas").all():
        assert canvas.bounding_box()["width"] > 100


def test_a_table_is_a_stop_of_the_keyboard_where_it_scrolls(open_page: Any) -> None:
    stops = "[...document.querySelectorAll('.attached .scroll')].map(one => one.tabIndex)"
    assert open_page(400).page.evaluate(stops) == [0]
    assert open_page(3000).page.evaluate(stops) == [-1]


def test_nothing_is_asked_for_but_the_file_and_the_console_is_empty(
    open_page: Any, page_file: Path
) -> None:
    seen = open_page()
    seen.slider.fill("2")
    seen.page.locator("#volume-1 button[data-window=mediastinum]").click()
    seen.page.locator("#volume-2 input[type=checkbox]").check()
    assert {url for url in seen.asked if not url.startswith(("data:", "blob:"))} == {
        page_file.as_uri()
    }
    assert seen.told == []
    assert [text for text in seen.page.locator("[role=status]").all_inner_texts() if text] == []
    assert seen.page.title() == "Report on lake"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out_from_what_is_behind_them(open_page: Any, scheme: str) -> None:
    """As WCAG 2.2 asks for of small text: 4.5 to 1."""
    seen = open_page(color_scheme=scheme)
    check_contrast(seen.page)


def test_a_page_without_scripts_still_has_its_figures_and_says_what_is_missing(
    browser: Any, page_file: Path
) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(page_file.as_uri())
    assert "The slices need JavaScript" in page.locator("#slices ~ noscript").inner_text()
    assert page.locator("svg.chart").count() == 2
    context.close()


def test_a_printed_page_has_its_slices_and_no_controls(open_page: Any) -> None:
    seen = open_page()
    seen.page.emulate_media(media="print")
    assert not seen.page.locator("#volume-1 button").first.is_visible()
    assert not seen.page.locator("nav").is_visible()
    assert seen.page.locator("#volume-1 canvas").first.is_visible()
    assert seen.page.pdf().startswith(b"%PDF")
