"""Packages against the ranges that the project declares."""

from importlib.metadata import PackageNotFoundError, PathDistribution
from pathlib import Path

import pytest

from jobs.doctor import packages
from jobs.doctor.asked import Asked
from jobs.doctor.finding import Finding, Verdict

METADATA = """Metadata-Version: 2.1
Name: ct-factory
Version: 9.9
Requires-Python: {python}
Requires-Dist: fine>=2
Requires-Dist: built[more]<3,>=2.10
Requires-Dist: elsewhere; sys_platform == "no-such-system"
Requires-Dist: wire>=5; extra == "s3"
Requires-Dist: tests; extra == "dev"
Provides-Extra: s3
Provides-Extra: dev
"""


@pytest.fixture
def findings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return what is found with packages of these versions."""

    def find(python: str = ">=3.11", **versions: str) -> dict[str, Finding]:
        def distribution(name: str) -> PathDistribution:
            folder = tmp_path / f"{name}.dist-info"
            folder.mkdir(exist_ok=True)
            text = METADATA.format(python=python) if name == "ct-factory" else THEIRS
            (folder / "METADATA").write_text(text)
            return PathDistribution(folder)

        def version(name: str) -> str:
            if name not in versions and name != "ct-factory":
                raise PackageNotFoundError(name)
            return versions.get(name, "9.9")

        monkeypatch.setattr(packages, "distribution", distribution)
        monkeypatch.setattr(packages, "version_of", version)
        return {one.check: one for one in packages.check(Asked())}

    return find


THEIRS = """Metadata-Version: 2.1
Name: built
Version: 2.13
Provides-Extra: more
Requires-Dist: base
Requires-Dist: dash>=1; extra == "more"
"""


def test_packages_that_fit_are_one_line(findings) -> None:
    found = findings(fine="2.0", built="2.13.0+cpu", dash="1.0", wire="5")
    assert [one.verdict for one in found.values()] == [Verdict.ok] * 3
    assert found["packages"].found == "ct-factory 9.9; 3 of 3 required fit"
    assert found["extra s3"].found == "wire 5"


def test_a_package_outside_its_range_is_a_problem_with_its_command(findings) -> None:
    found = findings(fine="2.0", built="3.0", dash="1.0")["package built"]
    assert found.verdict is Verdict.problem
    assert (found.found, found.expected) == ("3.0", "<3,>=2.10")
    assert found.advice == "Install it: pip install 'built[more]<3,>=2.10'"


def test_a_package_that_is_missing_is_a_problem(findings) -> None:
    found = findings(built="2.13", dash="1.0")
    assert found["package fine"].found == "not installed"
    assert found["packages"].found == "ct-factory 9.9; 2 of 3 required fit"


def test_what_a_package_needs_for_what_is_asked_in_brackets_is_looked_for(findings) -> None:
    found = findings(fine="2.0", built="2.13")
    assert found["package dash"].verdict is Verdict.problem
    assert "package base" not in found


def test_a_version_that_is_none_fits_nowhere(findings) -> None:
    found = findings(fine="unknown", built="2.13", dash="1.0")
    assert found["package fine"].found == "unknown"


def test_an_extra_that_is_missing_is_no_problem_and_one_too_old_is_told(findings) -> None:
    there = {"fine": "2", "built": "2.13", "dash": "1"}
    missing, old = findings(**there), findings(**there, wire="4.9")
    assert missing["extra s3"].verdict is Verdict.ok
    assert missing["extra s3"].found.startswith("not installed")
    assert old["extra s3"].verdict is Verdict.warning
    assert old["extra s3"].expected == "wire>=5"
    assert "ct-factory[s3]" in old["extra s3"].advice
    assert "extra dev" not in missing


def test_a_python_that_is_too_old_is_a_problem(findings) -> None:
    found = findings(python=">=99")["python"]
    assert (found.verdict, found.expected) == (Verdict.problem, ">=99")


def test_a_copy_that_was_never_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(packages, "distribution", missing)
    (found,) = packages.check(Asked())
    assert found.verdict is Verdict.problem
    assert "pip install" in found.advice


def test_this_very_environment_fits() -> None:
    found = {one.check: one for one in packages.check(Asked())}
    assert found["packages"].verdict is Verdict.ok
    assert not [check for check in found if check.startswith("package ")]
