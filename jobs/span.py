"""A number of processes, or the fewest and the most, as a flag says it."""

import re


def parse_span(text: str, separator: str) -> tuple[int, int] | None:
    """Return what `2` or, with a separator `-`, `1-4` mean: the fewest and the most.

    Args:
        text: As typed.
        separator: Between the two.

    Returns:
        None where it means neither, or the most are fewer than the fewest.
    """
    match = re.fullmatch(rf"([1-9]\d*)(?:{re.escape(separator)}([1-9]\d*))?", text.strip())
    if not match:
        return None
    fewest, most = int(match[1]), int(match[2] or match[1])
    return (fewest, most) if fewest <= most else None
