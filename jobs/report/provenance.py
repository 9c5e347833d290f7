"""Sections on where it all comes from, and what others measured of it."""

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from jobs.report.attached import Attached
from jobs.report.content import Content
from jobs.report.figures import span, tally
from jobs.report.made import notice
from jobs.report.markdown import as_html
from jobs.report.markup import Markup, element, table, terms

_MOST_VALUES = 20
_DEEPEST = 8
_COLUMNS = {
    "model_digest": "model digest",
    "sampler": "sampler",
    "steps": "steps",
    "hu_window": "HU window",
    "env_fingerprint": "environment",
    "device": "device",
    "run_id": "run",
}


def provenance(content: Content) -> Iterator[Markup]:
    """Yield how the lake was made: what was asked, by which model, with what."""
    lake, identity = content.lake, content.lake.identity
    columns = {name: _tally(content, column) for column, name in _COLUMNS.items()}
    yield terms(
        [
            ("lake", element("code", lake.url)),
            ("page written", f"{content.made_at} by ct-factory {content.made_by}"),
            *(
                (name, _value(identity.get(name)))
                for name in ("cases", "model", "asked", "plan_id")
            ),
            ("seed of the run", _value(_inner(identity, "settings", "seed"))),
            *((name, found[0][0]) for name, found in columns.items() if len(found) == 1),
            *_run(content),
        ]
    )
    for name, found in columns.items():
        if len(found) > 1:
            more = f"; {len(found) - _MOST_VALUES} more" if len(found) > _MOST_VALUES else ""
            caption = f"Synthetic volumes by {name}{more}"
            yield table([name, "volumes"], found[:_MOST_VALUES], caption=caption)
    told = table(
        ["key", "value"],
        [[element("code", key), value] for key, value in _flat(identity)],
        caption="dataset.json: the resolved recipe, digests and versions",
    )
    yield element("details", element("summary", "All settings and versions"), told)


def _run(content: Content) -> Iterator[tuple[str, str]]:
    rows = content.synthetic
    if rows.num_rows:
        num_seeds = len(rows["seed"].unique())
        yield (
            "seeds of volumes",
            f"{num_seeds:,} of {rows.num_rows:,} differ; each is in the manifest",
        )
    if ends := span(rows["created_at"]):
        yield "drawn", f"{ends[0]:%Y-%m-%d %H:%M} to {ends[1]:%Y-%m-%d %H:%M} UTC"
    seconds = [value for value in rows["seconds"].to_pylist() if value is not None]
    if seconds:
        median = sorted(seconds)[len(seconds) // 2]
        yield (
            "time",
            f"{sum(seconds) / 3600:.2f} hours of actors in all; {median:.1f} s a volume (median)",
        )


def _tally(content: Content, column: str) -> list[tuple[str, int]]:
    values = content.synthetic[column]
    if pa.types.is_list(values.type):
        texts = [None if one is None else ", ".join(map(str, one)) for one in values.to_pylist()]
        values = pa.chunked_array([pa.array(texts, pa.string())])
    return tally(values) if len(values) else []


def _flat(value: Any, key: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    """Yield nested settings as `a.b.c` and a text."""
    if isinstance(value, Mapping) and value and depth < _DEEPEST:
        for name, inner in sorted(value.items()):
            yield from _flat(inner, f"{key}.{name}" if key else str(name), depth + 1)
    else:
        yield key, _value(value)


def _inner(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {inner}" for key, inner in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "\u2013" if value is None or value == "" else str(value)


def attached(found: Attached, *, level: int) -> Iterator[Markup]:
    """Yield tables and pictures of another verb's folder."""
    yield element("p", "From ", element("code", found.folder), ".", class_="quiet")
    yield from notice(found.problems, "Left out")
    for text in found.tables:
        yield element("div", as_html(text, level=level), class_="attached")
    for name, content in found.pictures:
        picture = element(
            "img",
            src=f"data:image/png;base64,{content}",
            alt=f"{name}, which the tables above have in numbers",
            class_="picture",
        )
        yield element("figure", picture, element("figcaption", name))
