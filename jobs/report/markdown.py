"""The Markdown of this package's own tables, as HTML: headings, tables, lists, bold and code.

Anything else in it is text.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import groupby

from jobs.report.markup import Markup, element, escaped, table, together

_HEADING = re.compile(r"^(#{1,6}) +(.*)$")
_INLINE = re.compile(r"\*\*([^*]+)\*\*|`([^`]+)`")
_RULE = re.compile(r"^\|[ :|-]+\|$")
_LOWEST = 6


def as_html(text: str, *, level: int) -> Markup:
    """Return Markdown as HTML.

    Args:
        text: Markdown.
        level: Of its first heading in the page; those below it follow.
    """
    named = [(_kind(line), line.strip()) for line in text.splitlines()]
    blocks = [
        (kind, [line for _, line in group]) for kind, group in groupby(named, lambda one: one[0])
    ]
    return together(_blocks(blocks, level))


def _kind(line: str) -> str:
    line = line.strip()
    if _HEADING.match(line):
        return "heading"
    if line.startswith("|") and line.endswith("|") and len(line) > 1:
        return "table"
    if line.startswith("- "):
        return "list"
    return "text" if line else ""


def _blocks(blocks: Sequence[tuple[str, list[str]]], level: int) -> Iterator[Markup]:
    caption = "table"
    for kind, lines in blocks:
        if kind == "heading":
            for line in lines:
                found = _HEADING.match(line)
                assert found
                caption = found[2]
                yield element(f"h{min(_LOWEST, level + len(found[1]) - 1)}", _inline(caption))
        elif kind == "table":
            yield _table(lines, caption)
        elif kind == "list":
            yield element("ul", *(element("li", _inline(line[2:])) for line in lines))
        elif kind == "text":
            yield element("p", _inline(" ".join(lines)))


def _table(lines: Sequence[str], caption: str) -> Markup:
    head, *body = [_cells(line) for line in lines if not _RULE.match(line)] or [[]]
    width = max(map(len, (head, *body)))
    head, *body = [[*row, *[""] * (width - len(row))] for row in (head, *body)]
    return table(head, body, caption=caption) if width else Markup()


def _cells(line: str) -> list[str]:
    return [_inline(cell.strip()) for cell in line[1:-1].split("|")]


def _inline(text: str) -> Markup:
    parts, end = [], 0
    for found in _INLINE.finditer(text):
        bold, code = found.groups()
        parts += [escaped(text[end : found.start()])]
        parts += [element("strong", _inline(bold)) if bold else element("code", code)]
        end = found.end()
    return together([*parts, escaped(text[end:])])
