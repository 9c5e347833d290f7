"""HTML that is built of elements: whatever is not markup already is escaped where it is put in."""

import re
from collections.abc import Iterable, Sequence
from html import escape

_VOID = ("br", "img", "input")
# Controls have no place in HTML, and those of direction make a text read as another one.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class Markup(str):
    """HTML as it is to stand in the page."""

    __slots__ = ()


_NUMBER = re.compile(r"[-+\u2212]?[\d.,]+( %)?|\u2013")
_LONG = 40
"""Characters of a cell that is not to be squeezed into a narrow column."""

Content = str | int | float | None
Attribute = str | int | float | bool | None


def escaped(content: Content) -> Markup:
    """Return markup as it is, and anything else as its text; nothing of None."""
    if isinstance(content, Markup):
        return content
    return Markup(escape(printable("" if content is None else str(content))))


def printable(text: str) -> str:
    """Return a text without what HTML or UTF-8 cannot hold, and without hidden turns of direction."""
    # File names may have bytes that are no text.
    whole = text.encode("utf-8", "replace").decode("utf-8")
    return _UNPRINTABLE.sub("\ufffd", whole)


def element(tag: str, *content: Content, **attributes: Attribute) -> Markup:
    """Return an element.

    Args:
        tag: Name of ours.
        *content: Markup, or texts that are escaped.
        **attributes: Values are escaped; True stands alone, None and False are left out. A trailing
            underscore is dropped, any other is a dash: `class_`, `aria_label`.
    """
    start = f"<{tag}{''.join(_attribute(*pair) for pair in attributes.items())}>"
    if tag in _VOID:
        return Markup(start)
    return Markup(f"{start}{together(content)}</{tag}>")


def together(parts: Iterable[Content]) -> Markup:
    """Return parts one after the other."""
    return Markup("".join(map(escaped, parts)))


def table(
    headings: Sequence[Content], rows: Iterable[Sequence[Content]], *, caption: str
) -> Markup:
    """Return a table in a frame of its own that scrolls, so that the page need not.

    Args:
        headings: Of the columns.
        rows: As many cells each; the first names its row. Numbers stand to the right.
        caption: What it shows.
    """
    filled = [list(row) for row in rows]
    columns = list(zip(*filled, strict=True)) if filled else [()] * len(headings)
    head = [
        element("th", one, scope="col", class_=_class(*cells))
        for one, cells in zip(headings, columns, strict=True)
    ]
    whole = element(
        "table",
        element("caption", caption),
        element("thead", element("tr", *head)),
        element("tbody", *(_row(row) for row in filled)),
    )
    # A region that scrolls must be reached by keyboard too.
    return element("div", whole, class_="scroll", tabindex=0, role="group", aria_label=caption)


def terms(pairs: Iterable[tuple[Content, Content]], *, class_: str = "facts") -> Markup:
    """Return a list of terms, each with what it is."""
    parts = (element("div", element("dt", term), element("dd", meaning)) for term, meaning in pairs)
    return element("dl", *parts, class_=class_)


def _row(cells: Sequence[Content]) -> Markup:
    first, *rest = cells
    lead = element("th", first, scope="row")
    return element("tr", lead, *(element("td", cell, class_=_class(cell)) for cell in rest))


def _class(*cells: Content) -> str | None:
    """Return how cells of a column are set; of none, and of mixed ones, like text."""
    texts = [str(cell) for cell in cells]
    if texts and all(map(_NUMBER.fullmatch, texts)):
        return "number"
    return "long" if any(len(text) > _LONG for text in texts) else None


def _attribute(name: str, value: Attribute) -> str:
    name = name.rstrip("_").replace("_", "-")
    if value is None or value is False:
        return ""
    if value is True:
        return f" {name}"
    return f' {name}="{escaped(str(value))}"'
