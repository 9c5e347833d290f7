"""The one error of this package."""


class ManifestError(ValueError):
    """A manifest, a row, a split or a mix is not what it says, or cannot be had.

    The message says which file or row, what was found, what was expected and what to do.
    """
