"""What a doctor tells: a secret never, a way out always."""

import json
from pathlib import Path
from typing import Any

import pytest

from factory.errors import StoreError
from jobs.doctor import telling
from jobs.doctor.finding import Finding, Verdict, ok, problem, refused, warning, without_secrets

WELL = ok("cpus", "2 of 2 usable")
ODD = warning("disk", "4.0 GiB free [of 9]", "10 GiB free", "Make room.")
BAD = problem("ray", "it does not load", "a Ray that loads", "Install it again.")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://AKID:s3cr3t@bucket/lake", "s3://***@bucket/lake"),
        ("s3://AKID:s3/cr@3t@bucket is there", "s3://***@bucket is there"),
        ("http://host/x?token=abc&sig=d refused", "http://host/x?*** refused"),
        ("s3://bucket/lake at s3://other", "s3://bucket/lake at s3://other"),
        ("mail somebody@host", "mail somebody@host"),
    ],
)
def test_what_a_url_holds_of_secrets_is_struck_out(text: str, shown: str) -> None:
    assert without_secrets(text) == shown


def test_a_secret_of_the_environment_is_struck_out_wherever_it_turns_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "/wJalrXUtnFEMI/K7MDENG")
    finding = problem("out", "no /wJalrXUtnFEMI/K7MDENG", "x", "Use /wJalrXUtnFEMI/K7MDENG.")
    assert (finding.found, finding.advice) == ("no ***", "Use ***.")


def test_the_path_of_a_file_of_secrets_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "token"
    file.touch()
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(file))
    assert without_secrets(f"see {file}") == f"see {file}"


def test_a_short_word_of_the_environment_is_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    assert without_secrets("a token") == "a token"


def test_an_error_of_ours_becomes_found_expected_and_advice() -> None:
    error = StoreError("lake x: found none; expected a folder with a. b in it. Make one.")
    assert refused("out", error) == problem(
        "out", "lake x: found none", "a folder with a", "b in it. Make one."
    )
    bare = refused("out", StoreError("torn"))
    assert (bare.found, bare.expected, bare.advice) == ("torn", "", "")


def test_plain_lines_say_what_to_do_for_all_but_what_is_well() -> None:
    assert list(telling.lines_of([WELL, BAD])) == [
        "ok       cpus: 2 of 2 usable",
        "problem  ray: it does not load",
        "         expected: a Ray that loads",
        "         what to do: Install it again.",
    ]


def test_a_table_has_no_line_that_is_lost_to_its_markup(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    telling.tell([WELL, ODD])
    out = capsys.readouterr().out
    assert "4.0 GiB free [of 9]" in out
    assert "what to do: Make room." in out


def test_json_has_every_finding_and_how_many_there_are() -> None:
    told: dict[str, Any] = json.loads(telling.report_text([WELL, ODD, BAD]))
    assert told["counts"] == {"ok": 1, "warning": 1, "problem": 1}
    assert [Finding.from_json(one) for one in told["findings"]] == [WELL, ODD, BAD]
    assert told["findings"][1]["verdict"] == "warning"


def test_the_last_line_says_how_it_stands_and_what_next() -> None:
    assert telling.summary([WELL, ODD, BAD, BAD]) == (
        "doctor: 1 ok, 1 warning, 2 problems",
        "mend the problems, and run factory doctor again",
    )
    assert telling.summary([WELL, WELL]) == (
        "doctor: 2 ok, 0 warnings, 0 problems",
        "factory demo",
    )
    assert Verdict(WELL.verdict) is Verdict.ok
