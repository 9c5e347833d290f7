"""Chromium for tests of pages, and what a page looks like in it.

Skipped where there is no Chromium. FACTORY_CHROMIUM names another than those that are looked for.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import pytest

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

WITH_WEBGL = [
    *(one for one in ARGUMENTS if one != "--disable-gpu"),
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
]
"""Drawn on the CPU, where there is no GPU."""

_COLOURS = """() => {
          const behind = (one) => {
            for (; one; one = one.parentElement) {
              const colour = getComputedStyle(one).backgroundColor;
              if (colour !== "rgba(0, 0, 0, 0)") return colour;
            }
            return "rgb(255, 255, 255)";
          };
          const found = new Set();
          for (const one of document.querySelectorAll("p, dt, dd, th, td, a, button, figcaption, caption, summary, label, h1, h2, h3"))
            found.add(getComputedStyle(one).color + "|" + behind(one));
          return [...found];
        }"""


def running_browser(arguments: Sequence[str] = ARGUMENTS) -> Iterator[Any]:
    """Yield a browser without a screen, and close it."""
    path = _chromium()
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    with playwright.sync_playwright() as started:
        running = started.chromium.launch(executable_path=path, args=[*arguments])
        yield running
        running.close()


def _chromium() -> str:
    names = (os.environ.get("FACTORY_CHROMIUM"), "chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if name and (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(
            "no Chromium here; install it (apt-get install chromium), or set FACTORY_CHROMIUM"
        )
    return found


@dataclass
class Seen:
    """A page that is open, and what it did."""

    page: Any
    told: list[str] = field(default_factory=list)
    """Console messages and errors."""
    asked: list[str] = field(default_factory=list)
    """URLs that were asked for."""

    def wait_until_ready(self) -> None:
        """Wait until the page's script has begun."""
        self.page.locator("html[data-ready]").wait_for(state="attached")


Page = TypeVar("Page", bound=Seen)


@contextmanager
def opening(browser: Any, home: str, seen_as: type[Page]) -> Iterator[Callable[..., Page]]:
    """Yield what opens pages, each in a context of its own, and close them all.

    Args:
        browser: That is running.
        home: URL where no other is given.
        seen_as: What a page that is ready is returned as.
    """
    contexts = []

    def opened(width: int = 1280, url: str = "", **settings: Any) -> Page:
        context = browser.new_context(viewport={"width": width, "height": 900}, **settings)
        contexts.append(context)
        seen = seen_as(context.new_page())
        seen.page.on("console", lambda message: seen.told.append(message.text))
        seen.page.on("pageerror", lambda error: seen.told.append(str(error)))
        seen.page.on("request", lambda request: seen.asked.append(request.url))
        seen.page.goto(url or home)
        seen.wait_until_ready()
        return seen

    yield opened
    for context in contexts:
        context.close()


def windowed(hu: np.ndarray, window: tuple[int, int]) -> np.ndarray:
    """Return the grey of HU in a window of (level, width), 0 to 255."""
    level, width = window
    share = (hu.astype(np.float64) - level + width / 2) / width
    return np.clip(np.floor(255 * share + 0.5), 0, 255)


def check_contrast(page: Any) -> None:
    """Fail where a text does not stand out from what is behind it: WCAG 2.2 asks for 4.5 to 1."""
    pairs = page.evaluate(_COLOURS)
    assert len(pairs) > 3
    for pair in pairs:
        ink, ground = pair.split("|")
        assert _contrast(ink, ground) >= 4.5, pair


def _contrast(one: str, other: str) -> float:
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    values = [int(part) / 255 for part in colour.partition("(")[2].rstrip(")").split(",")[:3]]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))
