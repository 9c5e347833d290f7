"""Tables of Markdown, a line at a time."""

from collections.abc import Sequence


def head(headings: Sequence[str]) -> list[str]:
    """Return the two lines that a table begins with."""
    return [line(*headings), line(*["---"] * len(headings))]


def line(*cells: str) -> str:
    """Return one line of a table; a bar in a cell would end it, so a cell has none."""
    return f"| {' | '.join(cells)} |"
