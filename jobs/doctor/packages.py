"""Python and packages, against the ranges that the installed package declares of itself."""

import platform
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from importlib.metadata import version as version_of

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from jobs.doctor.asked import Asked
from jobs.doctor.finding import Finding, ok, problem, warning

_NAME = "ct-factory"
_OF_DEVELOPERS = ("dev", "docs")


def check(asked: Asked) -> Iterator[Finding]:
    """Look at Python, at each package that is required, and at each extra."""
    try:
        ours = distribution(_NAME)
    except PackageNotFoundError:
        yield problem(
            "packages",
            f"no installed {_NAME}",
            "its metadata, which says what it needs",
            f"Install it: pip install {_NAME}, or pip install -e . in its folder.",
        )
        return
    yield _python(ours.metadata["Requires-Python"] or "")
    requirements = _parsed(ours)
    yield from _required(_with_extras([one for one in requirements if _applies(one)]))
    for extra in ours.metadata.get_all("Provides-Extra") or []:
        if extra not in _OF_DEVELOPERS:
            yield _extra(extra, _added(requirements, extra))


def _python(declared: str) -> Finding:
    running = platform.python_version()
    found = f"{running} at {sys.executable}"
    if _fits(running, SpecifierSet(declared)):
        return ok("python", found, declared)
    return problem("python", found, declared, "Install into an environment of such a Python.")


def _required(requirements: list[Requirement]) -> Iterator[Finding]:
    unfit = [one for one in requirements if not _installs(one)]
    fit = len(requirements) - len(unfit)
    yield ok("packages", f"{_NAME} {version_of(_NAME)}; {fit} of {len(requirements)} required fit")
    for one in unfit:
        yield problem(
            f"package {one.name}",
            _installed(one.name) or "not installed",
            str(one.specifier) or "any version",
            f"Install it: pip install '{_plain(one)}'",
        )


def _extra(extra: str, requirements: list[Requirement]) -> Finding:
    check, needed = f"extra {extra}", _with_extras(requirements)
    missing = [one.name for one in needed if _installed(one.name) is None]
    if missing:
        return ok(check, f"not installed, and needed only for what it adds: {', '.join(missing)}")
    unfit = [one for one in needed if not _installs(one)]
    if unfit:
        return warning(
            check,
            ", ".join(f"{one.name} {_installed(one.name)}" for one in unfit),
            ", ".join(f"{one.name}{one.specifier}" for one in unfit),
            f"Install it: pip install '{_NAME}[{extra}]'",
        )
    return ok(check, ", ".join(f"{one.name} {_installed(one.name)}" for one in requirements))


def _parsed(ours: Distribution) -> list[Requirement]:
    found = []
    for line in ours.requires or []:
        try:
            found.append(Requirement(line))
        except InvalidRequirement:
            # Of a newer form than this `packaging` reads: pip has read it.
            continue
    return found


def _with_extras(requirements: list[Requirement]) -> list[Requirement]:
    """Return requirements, and what they ask for in brackets: `ray[default]` is more than ray."""
    found = list(requirements)
    for one in requirements:
        if one.extras and _installed(one.name):
            theirs = _parsed(distribution(one.name))
            found += [added for extra in sorted(one.extras) for added in _added(theirs, extra)]
    return found


def _added(requirements: list[Requirement], extra: str) -> list[Requirement]:
    """Return the requirements that only an extra has."""
    return [one for one in requirements if not _applies(one) and _applies(one, extra)]


def _applies(requirement: Requirement, extra: str = "") -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def _installs(requirement: Requirement) -> bool:
    found = _installed(requirement.name)
    return found is not None and _fits(found, requirement.specifier)


def _installed(name: str) -> str | None:
    try:
        # Half an uninstalled package has a folder of metadata without a version.
        return version_of(name) or None
    except PackageNotFoundError:
        return None


def _fits(found: str, specifier: SpecifierSet) -> bool:
    try:
        return specifier.contains(Version(found), prereleases=True)
    except InvalidVersion:
        return False


def _plain(requirement: Requirement) -> str:
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    return f"{requirement.name}{extras}{requirement.specifier}"
