"""Results on stdout, everything else on stderr, and plain lines where nobody watches."""

import io
import sys

import pytest

from jobs import console


def test_results_and_remarks_do_not_mix(capsys: pytest.CaptureFixture[str]) -> None:
    console.give("lake/manifest.parquet")
    console.say("Next: factory verify")
    assert capsys.readouterr() == ("lake/manifest.parquet\n", "Next: factory verify\n")


def test_without_a_terminal_there_is_a_line_at_the_start_and_at_the_end(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with console.progress("draw", 3) as tracker:
        for done in (1, 2, 3):
            tracker.update(done, "0 quarantined")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == ["draw: 0/3", "draw: 3/3 in 0 s 0 quarantined"]


def test_a_long_job_says_a_line_every_ten_seconds(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    with console.progress("draw", 100) as tracker:
        for done in range(1, 26):
            now[0] += 1.0
            tracker.update(done)
    assert capsys.readouterr().err.splitlines() == [
        "draw: 0/100",
        "draw: 10/100 in 10 s",
        "draw: 20/100 in 20 s",
    ]


def test_the_end_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress("train", 2) as tracker:
        tracker.update(2)
        tracker.update(2, "again")
    assert capsys.readouterr().err.count("2/2") == 1


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_there_is_a_bar_with_counts_and_a_note(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(sys, "stderr", terminal)
    with console.progress("draw", 4) as tracker:
        tracker.update(3, "1 quarantined")
        console.say("quarantined: case a")
    shown = terminal.getvalue()
    assert "draw" in shown
    assert "3/4" in shown
    assert "1 quarantined" in shown
    assert "quarantined: case a" in shown
    assert capsys.readouterr().out == ""


def test_a_bar_tells_the_time_left_where_a_step_takes_a_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, terminal = [100.0], Terminal()
    monkeypatch.setattr("rich.console.monotonic", lambda: now[0])
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(sys, "stderr", terminal)
    with console.progress("train", 100) as tracker:
        for step in (1, 2, 3):
            now[0] += 60.0
            tracker.update(step)
    assert "1:37:00" in terminal.getvalue()
