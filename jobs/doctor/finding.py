"""What a check has found; nothing of it is a secret."""

import os
import re
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """What a finding means for the factory."""

    ok = "ok"
    warning = "warning"
    problem = "problem"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One line of a doctor's report. Secrets in its texts are struck out when it is made."""

    check: str
    """What was looked at."""

    verdict: Verdict
    """Whether it will do."""

    found: str
    """What is there, with units."""

    expected: str = ""
    """What should be; empty where anything will do."""

    advice: str = ""
    """What to do; empty where there is nothing."""

    def __post_init__(self) -> None:
        for name in ("check", "found", "expected", "advice"):
            object.__setattr__(self, name, without_secrets(getattr(self, name)))

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON; `from_json` reads it."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "Finding":
        """Return what `as_json` has written."""
        return cls(**{**fields, "verdict": Verdict(fields["verdict"])})


def ok(check: str, found: str, expected: str = "") -> Finding:
    """Return a finding that needs nothing."""
    return Finding(check=check, verdict=Verdict.ok, found=found, expected=expected)


def warning(check: str, found: str, expected: str, advice: str) -> Finding:
    """Return a finding that the factory works in spite of."""
    return Finding(
        check=check, verdict=Verdict.warning, found=found, expected=expected, advice=advice
    )


def problem(check: str, found: str, expected: str, advice: str) -> Finding:
    """Return a finding that the factory fails on."""
    return Finding(
        check=check, verdict=Verdict.problem, found=found, expected=expected, advice=advice
    )


def refused(check: str, error: Exception) -> Finding:
    """Return the problem that an error of ours tells of, in its own three parts."""
    text = " ".join(str(error).split())
    found, _, rest = text.partition("; expected ")
    expected, _, advice = rest.partition(". ")
    return problem(check, found, expected.rstrip("."), advice)


def without_secrets(text: str) -> str:
    """Strike out what a URL or the environment may hold of secrets, and bring it on one line."""
    line = " ".join(text.split())
    for secret in _secrets():
        line = line.replace(secret, _STRUCK)
    line = _USER.sub(rf"\g<1>{_STRUCK}@", line)
    return _QUERY.sub(rf"\g<1>?{_STRUCK}", line)


_STRUCK = "***"
# A password may have a slash or an @ of its own: all up to the last @ of the word goes.
_USER = re.compile(r"(://)[^\s'\"]*@")
_QUERY = re.compile(r"(://[^\s'\"?]*)\?[^\s'\"]+")
_NAMES_A_SECRET = re.compile(r"KEY|SECRET|TOKEN|PASSW|CREDENTIAL|AUTH|CONNECTION_STRING", re.I)
# Shorter ones are words: RAY_AUTH_MODE=token would strike out every "token".
_SHORTEST_SECRET = 8


def _secrets() -> list[str]:
    values = (value for name, value in os.environ.items() if _NAMES_A_SECRET.search(name))
    # The path of a file with secrets in it is none, and people have to know it.
    found = {value for value in values if len(value) >= _SHORTEST_SECRET}
    return sorted((v for v in found if not os.path.exists(v)), key=len, reverse=True)
