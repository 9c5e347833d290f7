"""Numbers of things, as a sentence has them."""


def counted(num: int, noun: str, plural: str = "") -> str:
    """Return a number with what it counts, as `1 volume` or `1,200 volumes`.

    Args:
        num: How many.
        noun: What one of them is called.
        plural: What several are called, where that is not the noun with an s.
    """
    return f"{num:,} {noun if num == 1 else plural or f'{noun}s'}"
