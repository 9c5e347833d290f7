"""The docs as a site: it builds without a warning, and nothing is cut off, on a desk or on a phone."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browsers import running_browser
from doc_pages import ROOT

pytest.importorskip("furo", reason="no Sphinx theme: pip install 'ct-factory[dev]'")

pytestmark = pytest.mark.slow

DESK, PHONE = 1280, 400

_CUT = """() => [...document.querySelectorAll("article table, article pre, article img")].filter((one) => {
  const box = one.closest(".table-wrapper") || one;
  const edge = box.getBoundingClientRect().right;
  const scrolls = ["auto", "scroll"].includes(getComputedStyle(box).overflowX);
  return edge > innerWidth || (one.getBoundingClientRect().right > edge + 1 && !scrolls);
}).map((one) => one.textContent.slice(0, 60) || one.src)"""
"""Tables, code and pictures that reach out of the window, or out of a box that does not scroll."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, as `make docs` builds it."""
    out = tmp_path_factory.mktemp("site") / "html"
    built = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-n", "-q", "docs", str(out)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return out


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    yield from running_browser()


def open_page(browser: Any, path: Path, width: int) -> Any:
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.goto(path.as_uri())
    return page


def test_no_page_is_cut_off(site: Path, browser: Any) -> None:
    paths = sorted(path.relative_to(site) for path in site.rglob("*.html"))
    assert len(paths) > 40
    page = browser.new_page()
    for path in paths:
        page.goto((site / path).as_uri())
        for width in (DESK, PHONE):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (path, width)
            assert page.evaluate(_CUT) == [], (path, width)
    page.close()


def test_a_table_that_is_wider_than_a_phone_scrolls_to_its_last_column(
    site: Path, browser: Any
) -> None:
    page = open_page(browser, site / "benchmarks" / "fidelity.html", PHONE)
    box, last = page.locator(".table-wrapper").first, page.locator("th").last
    assert last.bounding_box()["x"] > PHONE
    box.evaluate("(one) => one.scrollBy(10000, 0)")
    assert last.bounding_box()["x"] + last.bounding_box()["width"] <= PHONE
    # That there is more is seen before it is tried: a shadow lies over the edge.
    assert box.evaluate("(one) => getComputedStyle(one).backgroundImage").count("gradient") == 4
    page.close()


def test_the_first_page_leads_to_every_other_in_the_text_and_in_the_sidebar(
    site: Path, browser: Any
) -> None:
    page = open_page(browser, site / "index.html", DESK)
    links = "(all) => all.map((one) => one.getAttribute('href').split('#')[0])"
    in_text = set(page.locator("article a.reference.internal").evaluate_all(links))
    in_sidebar = set(page.locator(".sidebar-tree > ul > li > a").evaluate_all(links))
    assert in_sidebar <= in_text
    assert len(in_sidebar) > 25
    page.close()
