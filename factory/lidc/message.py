"""An XML file that somebody else wrote, as a small tree, or what is wrong with it.

No DTD and no entity is taken, and nothing is fetched. How much a file may hold is limited before
it is read, and what it makes us hold while it is read.
"""

import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.sax import SAXException, SAXParseException
from xml.sax.handler import ContentHandler

from defusedxml.common import DefusedXmlException
from defusedxml.expatreader import DefusedExpatParser

from factory.refused import found_of

_BYTES_AT_MOST = 16 << 20
_HEAD_BYTES = 64 << 10
_ELEMENTS_AT_MOST = 500_000
"""Three for each pixel of an outline: twenty times a large message."""
_DEPTH_AT_MOST = 16
_TEXT_AT_MOST = 128
"""Characters that are kept of an element's text: two UIDs."""

_UNREADABLE = (SAXException, DefusedXmlException, OSError, ValueError, LookupError)


class MessageError(Exception):
    """The file is no XML that is read here; the message says what was found and expected."""


class _Reached(Exception):
    """The element after the head was reached."""


@dataclass(slots=True)
class Element:
    """An element of the file; attributes, comments and instructions are left out."""

    name: str
    """Without its namespace."""
    text: str = ""
    """Before its first child, stripped, its first characters."""
    children: list["Element"] = field(default_factory=list)

    def all(self, name: str) -> Iterator["Element"]:
        """Yield the children of a name, whatever its case."""
        return (child for child in self.children if child.name.lower() == name.lower())

    def first(self, name: str) -> "Element | None":
        """Return the first child of a name, whatever its case."""
        return next(self.all(name), None)

    def value(self, name: str) -> str:
        """Return the text of the first child of a name; empty where there is none."""
        child = self.first(name)
        return child.text if child else ""


def read_message(path: Path) -> Element:
    """Read a whole file.

    Raises:
        MessageError: It cannot be read, is no XML, has a DTD, or is too large or too deep.
    """
    tree = _Tree()
    data = _bytes_of(path, _BYTES_AT_MOST)
    if len(data) > _BYTES_AT_MOST:
        raise MessageError(
            f"has more than {_BYTES_AT_MOST >> 20} MiB; expected the marks of one CT, some hundred KiB"
        )
    _parse(data, tree, whole=True)
    assert tree.root is not None
    return tree.root


def read_head(path: Path, until: str) -> Element:
    """Read a file up to the first element named `until`, or its first 64 KiB.

    Raises:
        MessageError: It cannot be read, or does not begin as XML without a DTD.
    """
    tree = _Tree(until=until)
    _parse(_bytes_of(path, _HEAD_BYTES), tree, whole=False)
    if tree.root is None:
        raise MessageError("has no element; expected XML")
    return tree.root


class _Tree(ContentHandler):
    def __init__(self, until: str = "") -> None:
        super().__init__()
        self.root: Element | None = None
        self._until = until.lower()
        self._open: list[Element] = []
        self._num_elements = 0

    def startElement(self, name: str, attrs: Any) -> None:
        self._num_elements += 1
        if self._num_elements > _ELEMENTS_AT_MOST:
            raise MessageError(
                f"has more than {_ELEMENTS_AT_MOST} elements; expected the marks of one CT"
            )
        if len(self._open) == _DEPTH_AT_MOST:
            raise MessageError(f"nests deeper than {_DEPTH_AT_MOST} elements; expected 6")
        element = Element(name.rpartition(":")[2])
        if self._until and element.name.lower() == self._until:
            raise _Reached
        if self._open:
            self._open[-1].children.append(element)
        else:
            self.root = element
        self._open.append(element)

    def characters(self, content: str) -> None:
        element = self._open[-1]
        if not element.children and len(element.text) < _TEXT_AT_MOST:
            # Stripped as it comes: a line of blanks before a number must not fill the room.
            element.text = (element.text + content).lstrip()[:_TEXT_AT_MOST]

    def endElement(self, name: str) -> None:
        element = self._open.pop()
        element.text = element.text.rstrip()


def _bytes_of(path: Path, at_most: int) -> bytes:
    """Return the beginning of a file: one byte more than `at_most` where it has more."""
    try:
        # A pipe or a device would be waited for.
        if not stat.S_ISREG(path.stat().st_mode):
            raise MessageError("is no file; expected XML")
        with path.open("rb") as file:
            return file.read(at_most + 1)
    except (OSError, ValueError) as error:
        reason = found_of(error) if isinstance(error, OSError) else type(error).__name__
        raise MessageError(f"cannot be read ({reason}); expected XML") from error


def _parse(data: bytes, tree: _Tree, *, whole: bool) -> None:
    parser = DefusedExpatParser(forbid_dtd=True)
    parser.setContentHandler(tree)
    try:
        # In one piece: expat scans an unfinished token again with every piece that it is fed.
        parser.feed(data)
        if whole:
            parser.close()
    except _Reached:
        return
    except DefusedXmlException as error:
        raise MessageError(
            f"declares a DTD or an entity ({type(error).__name__}); expected plain XML"
        ) from error
    except SAXParseException as error:
        raise MessageError(
            f"is no whole XML (line {error.getLineNumber()}: {error.getMessage()}); expected XML"
        ) from error
    except _UNREADABLE as error:
        raise MessageError(f"cannot be read ({type(error).__name__}); expected XML") from error
