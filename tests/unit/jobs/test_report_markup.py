"""HTML that nothing which others wrote can break out of."""

import pytest
from report_pages import Page

from jobs.report.markdown import as_html
from jobs.report.markup import Markup, element, escaped, table, terms, together

HOSTILE = "<script>alert(1)</script>\"'&<img src=x onerror=alert(1)>"


def tags(markup: str) -> list[str]:
    return [tag for tag, _ in Page(markup).elements]


@pytest.mark.parametrize(
    "made",
    [
        element("p", HOSTILE),
        element("p", title=HOSTILE),
        together(["<b>", HOSTILE]),
        element("p", element("em", HOSTILE), HOSTILE),
    ],
    ids=["content", "attribute", "parts", "nested"],
)
def test_what_is_no_markup_is_escaped_wherever_it_stands(made: Markup) -> None:
    assert set(tags(made)) <= {"p", "em"}
    assert "<script" not in made
    assert "<img" not in made


def test_tables_and_terms_escape_each_of_their_texts() -> None:
    made = table([HOSTILE, HOSTILE], [[HOSTILE, HOSTILE]], caption=HOSTILE)
    made = together([made, terms([(HOSTILE, HOSTILE)])])
    assert not {"script", "img"} & set(tags(made))
    assert made.count("&lt;script&gt;") == 8


def test_markup_is_escaped_once_and_text_that_was_joined_to_it_again() -> None:
    assert escaped(element("b", "a & b")) == "<b>a &amp; b</b>"
    assert escaped(element("b", "x") + "<i>") == "&lt;b&gt;x&lt;/b&gt;&lt;i&gt;"


def test_attributes_are_named_as_html_names_them_and_absent_ones_are_left_out() -> None:
    made = element("label", "x", for_="a", aria_label="b", hidden=True, id=None, disabled=False)
    assert made == '<label for="a" aria-label="b" hidden>x</label>'
    assert element("input", type="range", value=0) == '<input type="range" value="0">'


@pytest.mark.parametrize("text", ["a\x00b", "a\x1bb", "a\u202eb", "a\x9bb", "a\u2066b"])
def test_controls_and_turns_of_direction_are_shown_as_what_they_are_not(text: str) -> None:
    assert escaped(text) == "a\ufffdb"


def test_a_name_with_bytes_that_are_no_text_can_be_written() -> None:
    assert escaped(b"a\xff".decode("utf-8", "surrogateescape")).encode("utf-8") == b"a?"


def test_columns_of_numbers_stand_to_the_right_with_their_heading() -> None:
    rows = [["a", 3, "4.5 %", "\u22127", "x"], ["b", 4, "\u2013", "8", "9"]]
    made = table(["", "n", "share", "hu", "mixed"], rows, caption="c")
    page = Page(made)
    assert [one.get("class") for one in page.named("th")[:5]] == [
        None,
        *["number"] * 3,
        None,
    ]
    assert [one.get("class") for one in page.named("td")[:4]] == [*["number"] * 3, None]
    assert page.named("div") == [
        {"class": "scroll", "tabindex": "0", "role": "group", "aria-label": "c"}
    ]


def test_the_markdown_of_tables_becomes_headings_tables_lists_and_text() -> None:
    text = (
        "# Table II\n\nFeatures of `a<b`;\nmore **bold `x`** here.\n\n"
        "| set | n |\n| --- | --- |\n| **ours** | 3 |\n| real |  |\n\n- one\n- two **2**\n\n## Below\n"
    )
    assert as_html(text, level=3) == (
        "<h3>Table II</h3>"
        "<p>Features of <code>a&lt;b</code>; more <strong>bold <code>x</code></strong> here.</p>"
        '<div class="scroll" tabindex="0" role="group" aria-label="Table II"><table>'
        "<caption>Table II</caption>"
        '<thead><tr><th scope="col">set</th><th scope="col">n</th></tr></thead>'
        '<tbody><tr><th scope="row"><strong>ours</strong></th><td class="number">3</td></tr>'
        '<tr><th scope="row">real</th><td></td></tr></tbody></table></div>'
        "<ul><li>one</li><li>two <strong>2</strong></li></ul>"
        "<h4>Below</h4>"
    )


@pytest.mark.parametrize(
    "text",
    [
        f"# {HOSTILE}\n",
        f"- **{HOSTILE}**\n",
        f"`{HOSTILE}`\n",
        f"| a | {HOSTILE} |\n| --- | --- |\n| {HOSTILE} | `{HOSTILE}` |\n",
        "[x](javascript:alert(1)) ![y](http://127.0.0.1/z.png) <http://127.0.0.1>",
        "|\n||\n| |\n| a | b |\n| c |\n|---|\n",
        "**" * 5000 + "`" * 5000,
    ],
    ids=["heading", "list", "code", "table", "links", "ragged", "marks"],
)
def test_markdown_that_others_wrote_is_text(text: str) -> None:
    made = as_html(text, level=3)
    page = Page(made)
    assert page.problems == []
    assert not {"script", "img", "a"} & set(tags(made))


def test_rows_that_lack_cells_are_filled() -> None:
    made = as_html("| a | b |\n| --- | --- |\n| c |\n", level=3)
    assert made.count("<td") == 1
    assert made.count("<th ") == 3
