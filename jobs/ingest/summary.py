"""What became of everything that was found: a table at the end of an ingest.

found                                     42
  cases, new                              12
  cases, made anew                         1
  cases, already there                     3
  quarantined: cannot be read              1
  left out: localiser                     25
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

_LONGEST_REASON = 60
_REASONS = 8
"""Of one kind that are listed; the rest are counted together."""


@dataclass(slots=True)
class Summary:
    """Counts inputs by how they ended; each is counted once."""

    num_new: int = 0
    num_remade: int = 0
    """Cases that the store had of other files, or torn."""
    num_kept: int = 0
    quarantined: Counter[str] = field(default_factory=Counter)
    """Inputs by reason."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Inputs by reason."""

    def quarantine(self, case_id: str, problem: str) -> None:
        """Count an input that was given up for this problem, which may name its case."""
        self.quarantined[reason_of(problem.removeprefix(f"case {case_id}: "))] += 1

    @property
    def num_found(self) -> int:
        """Inputs that were found."""
        num_cases = self.num_new + self.num_remade + self.num_kept
        return num_cases + self.quarantined.total() + self.left_out.total()

    def lines(self) -> list[str]:
        """Return the table, a line a row."""
        rows = [
            ("found", self.num_found),
            ("  cases, new", self.num_new),
            *([("  cases, made anew", self.num_remade)] if self.num_remade else []),
            ("  cases, already there", self.num_kept),
            *_by_reason("quarantined", self.quarantined),
            *_by_reason("left out", self.left_out),
        ]
        width = max(len(name) for name, _ in rows)
        return [f"{name:<{width}}  {count:>7,}" for name, count in rows]


def reason_of(problem: str) -> str:
    """Return what a problem is, without the paths and numbers that tell one case from another."""
    found = problem.split("; expected")[0]
    # First what brackets hold, which may be another path. One may hold spaces: what lies between the first
    # and the last slash goes as well.
    plain = re.sub(r"\S*/(?:.*/)?\S*", "a file", _without_brackets(found))
    plain = re.sub(r"[-+]?\d[\d.,]*", "N", plain)
    words = " ".join(plain.split()).removeprefix("a file ")
    return words if len(words) <= _LONGEST_REASON else words[: _LONGEST_REASON - 3] + "..."


def _without_brackets(text: str) -> str:
    """Take out what stands in brackets, and the brackets in those."""
    while (shorter := re.sub(r"\([^()]*\)", "", text)) != text:
        text = shorter
    return text


def _by_reason(kind: str, counts: Counter[str]) -> Iterator[tuple[str, int]]:
    listed = counts.most_common(_REASONS)
    for reason, count in listed:
        yield f"  {kind}: {reason}", count
    if rest := counts.total() - sum(count for _, count in listed):
        yield f"  {kind}: other reasons", rest
