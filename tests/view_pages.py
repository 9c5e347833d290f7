"""A lake for the page of `factory view`, and the page as a browser has it: what it shows and what it did."""

import base64
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from browsers import Seen
from mix_sources import AFFINE, SHAPE, case, drawn, make_source, nodules, volume_of
from PIL import Image

from factory.axes import ras_from_zyx

LUNG, MEDIASTINUM = (-600, 1500), (40, 400)
HOSTILE = "<img src=x onerror=\"document.title='broken'\"><script>alert(1)</script>"
NODULE = (1, 4, 6)
"""Voxel of the first volume's nodule."""

NUM_DRAWN = 60
TORN = 3
"""Which draw cannot be read."""

PLANES: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "axial": lambda volume, z: volume[z, ::-1, ::-1],
    "coronal": lambda volume, y: volume[::-1, y, ::-1],
    "sagittal": lambda volume, x: volume[::-1, ::-1, x],
}
"""As radiologists look at them: anterior or superior up, right or anterior on the left."""


def rows() -> Iterator[dict[str, object]]:
    """Yield a donor, another, and draws of the first: accepted, one in ten to be reviewed."""
    yield case("A")
    yield case("B")
    center = list(ras_from_zyx(AFFINE, NODULE))
    for number in range(NUM_DRAWN):
        is_good = number % 10 != 5
        yield drawn(
            "A",
            number,
            seed_index=number,
            qc_verdict="accept" if is_good else "review",
            qc_reasons=[] if is_good else [f"{HOSTILE} seam {number}"],
            nodules=[nodules(6.0)[0] | {"center_ras_mm": center}] if number == 0 else [],
        )


def hu_of(number: int) -> np.ndarray:
    """Return the CT of a draw."""
    return volume_of(str(drawn("A", number)["work_id"])).ct


def make_view_lake(folder: Path) -> Path:
    """Write the lake, with one volume that cannot be read; return its folder."""
    make_source(folder, "lake", rows())
    shutil.rmtree(folder / "volumes" / f"{drawn('A', TORN)['work_id']}.ome.zarr")
    return folder


@dataclass
class SeenView(Seen):
    """The page of `factory view`, open."""

    def wait_until_ready(self) -> None:
        """Wait until the first volume is painted."""
        super().wait_until_ready()
        self.do(lambda: None)

    def do(self, action: Callable[[], object]) -> None:
        """Do something, and wait until it is painted."""
        action()
        self.page.evaluate(
            "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )

    def press(self, key: str) -> None:
        self.do(lambda: self.page.keyboard.press(key))

    def go(self, action: Callable[[], object], index: int) -> None:
        """Do something, and wait until a row is shown."""
        action()
        self.page.locator(f'html[data-drawn="{index}"]').wait_for(state="attached")
        self.page.locator("#shown:not([aria-busy])").wait_for(state="attached")
        self.do(lambda: None)

    def bare(self) -> None:
        """Leave nothing on the pictures but voxels and letters."""
        for name in ("overlay", "crosshair"):
            self.do(self.page.locator(f"#{name}").uncheck)

    def picture(self, plane: str, source: str = "volume") -> np.ndarray:
        """Return a canvas, a colour for each of its pixels."""
        url = self.page.locator(f"#{source}-{plane}").evaluate("one => one.toDataURL('image/png')")
        with Image.open(BytesIO(base64.b64decode(url.partition(",")[2]))) as picture:
            return np.asarray(picture.convert("RGB")).astype(np.float64)

    def voxels(self, plane: str, source: str = "volume") -> np.ndarray:
        """Return the colour in the middle of each voxel."""
        picture = self.picture(plane, source)
        rows, columns = PLANES[plane](np.zeros(SHAPE), 0).shape
        y = ((np.arange(rows) + 0.5) * picture.shape[0] / rows).astype(int)
        x = ((np.arange(columns) + 0.5) * picture.shape[1] / columns).astype(int)
        return picture[np.ix_(y, x)]

    def slide(self, plane: str, place: int, source: str = "volume") -> None:
        self.do(lambda: self.page.locator(f"#{source}-{plane}-slice").fill(str(place)))

    def text(self, selector: str) -> str:
        found: str = self.page.locator(selector).inner_text()
        return found

    def readout(self) -> tuple[int, tuple[float, ...], tuple[int, ...]]:
        """Return the HU, the RAS mm and the (z, y, x) under the crosshair."""
        told = self.text("#readout").replace("\u2212", "-")
        hu = int(re.match(r"(-?\d+) HU", told)[1])  # type: ignore[index]
        letters = re.findall(r"([RLAPSI]) (\d+\.\d)", told)
        ras = tuple(float(mm) * (1 if letter in "RAS" else -1) for letter, mm in letters)
        return hu, ras, tuple(int(one) for one in re.findall(r"[zyx] (\d+)", told))

    def titles(self) -> list[str]:
        return [
            text.splitlines()[0] for text in self.page.locator("#rows button").all_inner_texts()
        ]

    def matched(self, text: str) -> None:
        """Wait until the list says how many there are."""
        self.page.locator("#matched", has_text=text).wait_for()
