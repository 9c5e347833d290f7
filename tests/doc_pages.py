"""The pages of the docs, and the fenced blocks in them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [
        ROOT / "README.md",
        # docs/cluster.md and docs/demo-model.md are these two.
        ROOT / "jobs" / "cluster" / "README.md",
        ROOT / "models" / "weights" / "demo" / "README.md",
        *(ROOT / "docs").rglob("*.md"),
    ]
)
SHELL, PYTHON, QUERY, RECIPE = ("sh",), ("py", "python"), ("sql",), ("toml",)
RUNNABLE = (*SHELL, *PYTHON, *QUERY, *RECIPE)
OUTPUT = "text"

_FENCE = re.compile(r"^\s*(```+|~~~+)(.*)$")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block."""

    page: str
    """Path from the repository's root."""
    line: int
    """Of its opening fence, from 1 on."""
    language: str
    """What stands behind the fence; `{toctree}` and its like are Sphinx's."""
    text: str

    @property
    def place(self) -> str:
        """Where to look for it."""
        return f"{self.page}:{self.line}"

    @property
    def is_run(self) -> bool:
        """Whether it shows something that is typed: neither output nor a directive of Sphinx."""
        return self.language != OUTPUT and not self.language.startswith("{")

    @property
    def commands(self) -> list[str]:
        """Lines of a shell block, those that go on in the next one joined, without comments alone."""
        lines = map(str.strip, self.text.replace("\\\n", " ").splitlines())
        return [line for line in lines if line and not line.startswith("#")]


def name_of(page: Path) -> str:
    """Return what a page is called: its path from the repository's root."""
    return str(page.relative_to(ROOT))


def blocks_of(page: Path) -> Iterator[Block]:
    """Yield the fenced blocks of a page, from the top."""
    inside: list[str] | None = None
    for number, line in enumerate(page.read_text("utf-8").splitlines(), 1):
        fence = _FENCE.match(line)
        if inside is None:
            if fence:
                inside, start, opened, language = [], number, fence[1], fence[2].strip()
        elif fence and fence[1] == opened and not fence[2].strip():
            yield Block(name_of(page), start, language, "".join(f"{one}\n" for one in inside))
            inside = None
        else:
            inside.append(line)
    assert inside is None, f"{name_of(page)}:{start}: a block that never ends"


def submitted(line: str) -> str:
    """Return the command of a line: what follows `--` is what `ray job submit` runs elsewhere."""
    before, _, after = line.partition(" -- ")
    return after if after and before.startswith("ray job submit") else line
