"""What an exported file is called: a name that every tool and every disk takes."""

import re
from collections.abc import Mapping
from typing import Any

from factory.digests import digest_json

_NOT_PLAIN = re.compile(r"[^A-Za-z0-9_-]+")
_LONGEST = 80
_DIGITS = 8


def name_for(row: Mapping[str, Any]) -> str:
    """Return the name of a volume's files: its case, and of a synthetic one its work id too.

    It depends on nothing but the row, so that it stays when other volumes come or go.
    """
    case = _plain(row["case_id"])
    return f"{case}_{_plain(row['work_id'])}" if row["work_id"] else case


def _plain(text: str) -> str:
    """Return a text of letters, digits, `_` and `-`; of one that was changed its digest ends it."""
    plain = _NOT_PLAIN.sub("-", text).strip("-")[:_LONGEST]
    return plain if plain == text != "" else f"{plain}-{digest_json(text)[:_DIGITS]}".lstrip("-")
