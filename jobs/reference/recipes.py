"""Every key of a recipe, and the recipes that ship."""

import ast
import dataclasses
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Any, get_args, get_origin, get_type_hints

from factory.ingest.prepare import IngestConfig
from factory.nodules.rules import LayoutsConfig
from jobs.demo.job import DemoConfig
from jobs.downstream.config import DownstreamConfig
from jobs.generate.config import GenerateConfig
from jobs.recipe import TABLES, recipe_names
from jobs.train.config import TrainConfig

CONFIGS: Mapping[str, type] = {
    "ingest": IngestConfig,
    "layouts": LayoutsConfig,
    "train": TrainConfig,
    "generate": GenerateConfig,
    "downstream": DownstreamConfig,
    "demo": DemoConfig,
}
"""What each table of a recipe fills."""

_HEAD = """# Recipes

Made from the code by `make fmt`; do not edit.
Flags say what to run on, recipes say how. `--recipe NAME` takes one that [ships](#recipes-that-ship), `--recipe FILE` any TOML
file. A file says what it changes, and `base = "NAME"` what it stands on; what neither says has the default below.
Unknown keys and wrong values are refused, with what is known.

A key is written under its table: `dropout` of `[train.model]`, say.
"""

_SHIPPED = """## Recipes that ship

Word by word, so that one of them can be copied and changed.
"""


def recipes_page() -> str:
    """Return every key with its type, default and meaning, and every recipe, as Markdown."""
    assert tuple(CONFIGS) == TABLES
    tables = [section for name, config in CONFIGS.items() for section in _tables(name, config)]
    return "\n".join([_HEAD, *tables, _SHIPPED, *map(_recipe, recipe_names())])


def _tables(name: str, config: type) -> Iterator[str]:
    """Yield the section of a table, and then those inside it."""
    hints, meanings = get_type_hints(config), _meanings(config)
    fields = {field.name: field for field in dataclasses.fields(config)}
    inner = {key: hints[key] for key in fields if dataclasses.is_dataclass(hints[key])}
    rows = [
        f"| `{key}` | {_type(hints[key])} | {_default(field)} | {_cell(meanings[key])} |"
        for key, field in fields.items()
        if key not in inner
    ]
    head = [f"## [{name}]", "", _prose(config), ""]
    head += ["| key | type | default | |", "|---|---|---|---|"] if rows else []
    yield "\n".join([*head, *rows, ""])
    for key, one in inner.items():
        yield from _tables(f"{name}.{key}", one)


def _prose(config: type) -> str:
    return inspect.cleandoc(config.__doc__ or "").partition("\n\n")[0].replace("\n", " ")


def _meanings(config: type) -> dict[str, str]:
    """Return the string below each field: what Python itself does not keep."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(config))).body[0]
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for field, below in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            told = isinstance(below, ast.Expr) and ast.get_docstring(_module_of(below))
            found[field.target.id] = told or ""
    return found


def _module_of(expression: ast.Expr) -> ast.Module:
    return ast.Module(body=[expression], type_ignores=[])


def _type(hint: Any) -> str:
    if get_origin(hint) is tuple:
        first, *rest = get_args(hint)
        kind = _type(first)
        return f"list of {kind}" if Ellipsis in rest else f"list of {1 + len(rest)} {kind}"
    if isinstance(hint, type) and get_origin(hint) is None:
        return {"str": "string", "bool": "boolean"}.get(hint.__name__, hint.__name__)
    return "table"


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default_factory is not dataclasses.MISSING:
        return f"`{_toml(field.default_factory())}`"
    return "none" if field.default is dataclasses.MISSING else f"`{_toml(field.default)}`"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_toml, value))}]"
    return "{}" if value == {} else repr(value)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _recipe(name: str) -> str:
    text = resources.files("jobs").joinpath(f"recipes/{name}.toml").read_text(encoding="utf-8")
    return f"### {name}\n\n```toml\n{text.strip()}\n```\n"
