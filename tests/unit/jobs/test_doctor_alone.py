"""A check that fails, dies or hangs is told as such, and stops nothing."""

import os
import sys
import time
from pathlib import Path

import pytest

from jobs.doctor import job
from jobs.doctor.alone import Named, run_alone, run_here
from jobs.doctor.asked import Asked
from jobs.doctor.finding import Finding, Verdict

CHECKS = """
import os, subprocess, sys, time
from jobs.doctor.finding import ok

def fine(asked):
    print("noise of a library")
    yield ok("fine", asked.out)

def raises(asked):
    yield ok("before", "told")
    raise TypeError("no such\\n thing s3://me:pass@bucket/x")

def dies(asked):
    yield ok("before", "told")
    os.abort()

def exits(asked):
    yield ok("before", "told")
    sys.stderr.write("Illegal: no AVX\\n")
    os._exit(7)

def is_cut_off(asked):
    yield ok("before", "told")
    open(sys.argv[3], "a").write('{"check": "cu')
    os._exit(0)

def rambles(asked):
    raise TypeError("many keys " * 1000)
    yield

def hangs(asked):
    yield ok("before", "told")
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    open(asked.out, "w").write(str(child.pid))
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "planted_checks.py").write_text(CHECKS)
    paths = filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "planted_checks", raising=False)


def alone(name: str, *, seconds: float = 20.0, out: str = "here") -> list[Finding]:
    return list(run_alone(Named("it", f"planted_checks:{name}", seconds), Asked(out=out)))


def test_a_check_gets_what_was_asked_and_its_findings_come_back() -> None:
    (found,) = alone("fine", out="s3://bucket/lake")
    assert (found.check, found.found) == ("fine", "s3://bucket/lake")


def test_a_check_that_raises_is_told_after_what_it_had_found() -> None:
    before, failed = alone("raises")
    assert before.check == "before"
    assert failed.verdict is Verdict.problem
    assert failed.found == (
        "this check failed itself, and says nothing: TypeError: no such thing s3://***@bucket/x"
    )


def test_a_finding_that_is_cut_off_costs_no_other(tmp_path: Path) -> None:
    before, cut = alone("is_cut_off")
    assert before.check == "before"
    assert (cut.verdict, cut.check) == (Verdict.problem, "it")
    assert "what it wrote is cut off after 13 letters" in cut.found


def test_what_a_check_raises_is_quoted_in_part() -> None:
    (failed,) = alone("rambles")
    assert "TypeError: many keys many keys" in failed.found
    assert len(failed.found) < 400


def test_a_temporary_folder_that_cannot_be_used_is_a_problem_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "not there"))
    (found,) = alone("fine")
    assert (found.verdict, found.check) == (Verdict.problem, "it, temporary folder")
    assert "No such file or directory" in found.found
    assert "TMPDIR" in found.advice


def test_a_check_that_raises_here_is_told_the_same_way() -> None:
    before, failed = run_here(Named("it", "planted_checks:raises"), Asked())
    assert (before.check, failed.verdict) == ("before", Verdict.problem)
    assert "TypeError: no such thing s3://***@bucket/x" in failed.found


def test_a_check_whose_process_dies_is_a_problem_that_names_the_signal() -> None:
    before, died = alone("dies")
    assert before.check == "before"
    assert died.verdict is Verdict.problem
    assert "signal 6 (SIGABRT)" in died.found


def test_a_check_whose_process_ends_by_itself_is_a_problem_with_its_last_line() -> None:
    _, died = alone("exits")
    assert died.found == "its process ended with status 7: Illegal: no AVX"


def test_a_check_that_hangs_is_ended_with_its_children_and_told(tmp_path: Path) -> None:
    start = time.monotonic()
    before, hung = alone("hangs", seconds=1.5, out=str(tmp_path / "pid"))
    assert time.monotonic() - start < 20
    assert before.check == "before"
    assert hung.verdict is Verdict.problem
    assert hung.found == "no answer within 1.5 s"
    assert hung.advice.startswith("Check that what it needs is reached from here")
    child = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 10
    while _runs(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _runs(child)


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_a_module_of_the_working_directory_is_not_taken_for_a_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "json.py").write_text("raise SystemExit(9)")
    monkeypatch.chdir(tmp_path / "odd")
    assert [one.verdict for one in alone("fine")] == [Verdict.ok]


def test_after_a_check_that_fails_the_rest_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "_HERE", (Named("a", "planted_checks:raises"),))
    monkeypatch.setattr(job, "_ALONE", (Named("b", "planted_checks:dies"),))
    monkeypatch.setattr(job, "_OUT", Named("c", "planted_checks:fine"))
    found = list(job.examine(Asked(out="x")))
    assert [one.check for one in found] == ["before", "a", "before", "b", "fine"]


def test_cases_are_looked_at_only_where_there_are_some(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_HERE", "_ALONE"):
        monkeypatch.setattr(job, name, ())
    for name in ("_OUT", "_CASES"):
        monkeypatch.setattr(job, name, Named(name, "planted_checks:fine"))
    assert len(list(job.examine(Asked()))) == 1
    assert len(list(job.examine(Asked(cases="cases")))) == 2
