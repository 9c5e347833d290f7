"""What a shell offers after a flag whose values have names. Light to import.

Those that begin as what is typed are offered; where none does, shells offer files.
"""

from models.weights import NAMES


def recipes() -> list[str]:
    """Return the recipes that ship."""
    from jobs.recipe import recipe_names

    return recipe_names()


def models() -> list[str]:
    """Return the models that ship."""
    return list(NAMES)


def series_rules() -> list[str]:
    """Return the rules that choose a series of a DICOM study."""
    from factory.dicom.choose import ALL, MOST_SLICES, THINNEST

    return [THINNEST, MOST_SLICES, ALL]


def lung_methods() -> list[str]:
    """Return the ways to segment lungs."""
    from factory.ingest.drawn import THRESHOLD
    from factory.ingest.lung_models import LUNG_MODELS

    return [THRESHOLD, *LUNG_MODELS]
