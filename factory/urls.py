"""What a URL may say: it is written into lakes, manifests and logs, and so must hold no secret."""

import re

from factory.errors import UsageError

_LOCAL = ("file", "local")
_AZURE = ("abfs", "abfss", "az")
_PORT = re.compile(r"^[^:]*:\d+$")
_PLAIN_URL = re.compile(r"[a-z][a-z0-9+.-]*://[^?#]*", re.IGNORECASE)


def check_url(url: str) -> None:
    """Refuse a URL that may hold a secret, in words that do not repeat it, or that is ambiguous.

    Raises:
        UsageError: It names a user or has a query, is a chain of URLs, or has a `%`.
    """
    scheme, _, place = url.partition("://")
    if scheme.lower() in _LOCAL:
        return
    if _has_user(scheme.lower(), place) or not _PLAIN_URL.fullmatch(url):
        raise UsageError(
            f"a URL of {scheme.rpartition('::')[2]}: found a user, a password, a query or a chain in it; "
            "expected SCHEME://BUCKET/FOLDER and nothing more, for URLs are written into lakes and logs. "
            "Give credentials and endpoint by the environment, as AWS_PROFILE and AWS_ENDPOINT_URL."
        )
    # Arrow decodes escapes, and the rest does not: tables and volumes would be in two folders.
    if "%" in url:
        raise UsageError(
            f"{url}: found % in a URL; expected a name without it, for some read an escape there and "
            "some do not. Rename the folder, or choose another."
        )


def _has_user(scheme: str, place: str) -> bool:
    host = place.split("/", 1)[0]
    # Of abfs://CONTAINER@ACCOUNT... the container is no user.
    if scheme in _AZURE and ":" not in host:
        return False
    # A password may have a slash, which ends the host too early: then it has a colon, and no port.
    has_port = _PORT.search(host) is not None and "@" not in place
    return "@" in host or (":" in host and not has_port)
