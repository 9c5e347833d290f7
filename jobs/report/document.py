"""The page itself: one file, that fetches nothing and may run no script but its own."""

import base64
import hashlib
from collections.abc import Iterable, Iterator
from importlib.resources import files
from string import Template

from factory.counted import counted
from jobs.report import likeness, made, provenance, slices
from jobs.report.content import Content
from jobs.report.markup import Markup, element, escaped, together

_WARNING = (
    "Not for clinical use. Not anonymised: synthetic volumes keep their donors' anatomy outside the lungs, and this "
    "page shows slices of the donors' scans. Protect it as you protect the scans."
)


def document(content: Content) -> str:
    """Return the whole page as HTML."""
    style, script = _shared("look.css") + _part("page.css"), _shared("slices.js") + _part("page.js")
    page = _part("page.html")
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    return Template(page).substitute(
        policy=policy,
        title=escaped(f"Report on {_name(content)}"),
        style=style,
        script=script,
        body=_body(content),
    )


def _name(content: Content) -> str:
    return content.lake.url.rstrip("/").rpartition("/")[2]


def _body(content: Content) -> Markup:
    sections = list(_sections(content))
    links = (element("li", element("a", title, href=f"#{name}")) for name, title, _ in sections)
    head = element(
        "header",
        element("h1", f"Report on {_name(content)}"),
        element(
            "p",
            "What a lake of synthetic lung CTs holds, and how it was made: ",
            element("code", content.lake.url),
            class_="quiet",
        ),
        element("p", element("strong", _WARNING), class_="notice", role="note"),
        element("nav", element("ul", *links), aria_label="Contents"),
    )
    parts = (
        element("section", element("h2", title, id=name), *inside, aria_labelledby=name)
        for name, title, inside in sections
    )
    return together([head, element("main", *parts, id="main", tabindex=-1)])


def _sections(content: Content) -> Iterator[tuple[str, str, Iterable[Markup]]]:
    yield "summary", "Summary", _summary(content)
    yield "made", "What was made", made.made(content)
    yield "quality", "Quality control", made.quality(content)
    yield "likeness", "Lungs and nodules", likeness.likeness(content)
    yield "slices", "Slices", slices.slices(content)
    yield "quarantine", "Quarantine", made.quarantine(content)
    if content.evaluation:
        yield "evaluation", "Evaluation", provenance.attached(content.evaluation, level=3)
    if content.downstream:
        yield "downstream", "Downstream task", provenance.attached(content.downstream, level=3)
    yield "provenance", "Provenance", provenance.provenance(content)


def _summary(content: Content) -> Iterator[Markup]:
    lake = content.lake
    yield made.summary(content)
    so_far = [] if lake.is_published else ["there is no manifest: these are the volumes so far"]
    if lake.num_missing:
        so_far.append(
            f"{lake.num_missing:,} of {counted(lake.num_planned, 'planned volume')} not drawn yet"
        )
    if lake.num_unpublished:
        so_far.append(
            f"drawn, but not in the manifest yet, nor on this page: {counted(lake.num_unpublished, 'volume')}"
        )
    if so_far and lake.is_published:
        so_far.insert(
            0, "what is counted here is the manifest that is there, of an earlier plan maybe"
        )
    if so_far:
        way_out = "The same factory generate again does what is missing, unless it runs."
        yield from made.notice([*so_far, way_out], "Not finished")
    yield from made.notice(lake.problems, "Could not be read")
    unread = [
        f"volume {one.chosen.row['work_id']}: {one.remark}" for one in content.shown if one.remark
    ]
    yield from made.notice(unread, "Volumes with something missing")


def _part(name: str) -> str:
    return files("jobs.report").joinpath("page", name).read_text(encoding="utf-8")


def _shared(name: str) -> str:
    return files("jobs").joinpath("pages", name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """Return what a content security policy calls a script or style by."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}"
