"""Read TOML recipes into the config dataclasses that stand beside what they configure.

A recipe has one table a verb; a field that is itself a dataclass is a table inside it.
Unknown tables and keys are errors that name the known ones. `base = "paper"` takes what a recipe does
not say from another that ships.
"""

import dataclasses
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from factory.errors import RecipeError
from factory.refused import found_of

DEFAULT_RECIPE = "demo"
"""That of the model that ships: what it draws from needs no training, and a laptop is enough."""

TABLES = ("ingest", "layouts", "train", "generate", "downstream", "demo")
"""The verbs that a recipe can speak of."""

BASE = "base"
"""Key of the recipe that stands below."""

_MEANT_FOR = {"network_args": "network"}
"""Keys that mean something only beside another: a base's are left out where the other is changed."""

ConfigT = TypeVar("ConfigT")


@dataclasses.dataclass(frozen=True, slots=True)
class Recipe:
    """The tables of one recipe."""

    name: str
    tables: dict[str, Any]

    def table(self, verb: str, config: type[ConfigT], **given: Any) -> ConfigT:
        """Return a verb's config.

        Args:
            verb: Name of the table; an absent one means all defaults.
            config: Dataclass to fill.
            **given: Values that stand above the recipe; None means not given.
        """
        values = self.tables.get(verb, {})
        if isinstance(values, dict):
            values = _merged(values, {key: one for key, one in given.items() if one is not None})
        return read_table(config, values, f"recipe {self.name}: [{verb}]")


def recipe_names() -> list[str]:
    """Return the names of the recipes that ship."""
    files = resources.files("jobs").joinpath("recipes").iterdir()
    return sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml"))


def load_recipe(name_or_path: str) -> Recipe:
    """Read a recipe that ships, by name, or any TOML file, by path.

    Raises:
        RecipeError: No such recipe, not TOML, or a table that is no verb's.
    """
    if name_or_path in recipe_names():
        text = resources.files("jobs").joinpath(f"recipes/{name_or_path}.toml").read_text()
    else:
        text = _read_file(Path(name_or_path))
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(
            f"recipe {name_or_path}: found {error}; expected TOML. Correct the line."
        ) from error
    base = tables.pop(BASE, None)
    if base is not None:
        tables = _merged(_base_tables(name_or_path, base), tables)
    unknown = sorted(set(tables) - set(TABLES))
    if unknown:
        raise RecipeError(
            f"recipe {name_or_path}: found table [{unknown[0]}]; expected "
            f"{', '.join(f'[{table}]' for table in TABLES)}. Rename or remove it."
        )
    return Recipe(name_or_path, tables)


def _base_tables(name_or_path: str, base: Any) -> dict[str, Any]:
    others = [name for name in recipe_names() if name != name_or_path]
    if base not in others:
        raise RecipeError(
            f"recipe {name_or_path}: found {BASE} = {base!r}; expected one of {', '.join(others)}. "
            "Correct the name."
        )
    return load_recipe(base).tables


def _merged(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Return `own` above `base`, table in table."""
    for key, other in _MEANT_FOR.items():
        if key in base and other in own and own[other] != base.get(other):
            base = {name: value for name, value in base.items() if name != key}
    both = {key: (base[key], own[key]) for key in base.keys() & own.keys()}
    tables = {
        key: _merged(*pair)
        for key, pair in both.items()
        if all(isinstance(side, dict) for side in pair)
    }
    return {**base, **own, **tables}


def read_table(config: type[ConfigT], values: Any, where: str) -> ConfigT:
    """Fill a frozen dataclass from a TOML table, checking keys and types.

    Raises:
        RecipeError: An unknown key, or a value of another type than the field's.
    """
    if not isinstance(values, dict):
        raise RecipeError(f"{where}: found {values!r}; expected a table. Correct it.")
    if not dataclasses.is_dataclass(config):
        raise TypeError(f"{config} is no dataclass")
    hints = get_type_hints(config)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise RecipeError(
            f"{where} {unknown[0]}: unknown key; expected one of {', '.join(sorted(hints))}. "
            "Correct the name or remove the line."
        )
    filled = {key: _convert(value, hints[key], f"{where} {key}") for key, value in values.items()}
    try:
        return config(**filled)
    except ValueError as error:
        told = str(error)
        way_out = "" if told.endswith(".") else ". Correct the value."
        raise RecipeError(f"{where}: {told}{way_out}") from error


def _read_file(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        found = found_of(error) if isinstance(error, OSError) else "no UTF-8"
        raise RecipeError(
            f"recipe {path}: found neither a recipe of this name nor a file that can be read ({found}); expected "
            f"one of {', '.join(recipe_names())}, or a TOML file. Correct the name, or mend the file."
        ) from error


def _convert(value: Any, hint: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return value if isinstance(value, hint) else read_table(hint, value, where)
    if get_origin(hint) is tuple:
        return _convert_tuple(value, hint, where)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    # bool is an int to isinstance, but `steps = true` is a mistake.
    right_bool = isinstance(value, bool) == (hint is bool)
    if not isinstance(hint, type) or (isinstance(value, hint) and right_bool):
        return value
    raise RecipeError(f"{where}: found {value!r}; expected {hint.__name__}. Correct the value.")


def _convert_tuple(value: Any, hint: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise RecipeError(f"{where}: found {value!r}; expected a list. Correct the value.")
    kinds = get_args(hint)
    if kinds[-1] is Ellipsis:
        kinds = (kinds[0],) * len(value)
    if len(kinds) != len(value):
        raise RecipeError(
            f"{where}: found {len(value)} values; expected {len(kinds)}. Correct the list."
        )
    return tuple(_convert(v, kind, where) for v, kind in zip(value, kinds, strict=True))
