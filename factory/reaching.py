"""What it means to people where a bucket refuses, or does not answer."""

from collections.abc import Iterator
from contextlib import contextmanager

from factory.errors import AccessError, PassingError

# By name, for botocore is not always installed.
_NO_CREDENTIALS = ("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound")
_NO_ANSWER = (
    "ConnectionClosedError",
    "ConnectTimeoutError",
    "EndpointConnectionError",
    "ReadTimeoutError",
)


@contextmanager
def reaching(url: str) -> Iterator[None]:
    """Say what to do where a URL can't be reached.

    Raises:
        AccessError: There are no credentials, or these have no right to it.
        PassingError: Nothing answers.
    """
    try:
        yield
    except Exception as error:
        kind = type(error).__name__
        if isinstance(error, PermissionError) or kind in _NO_CREDENTIALS:
            raise AccessError(
                f"{url}: found no right to it ({error}); expected credentials in the environment of "
                "every node that may list, read, write and remove there. Set AWS_PROFILE or "
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or what docs/storage.md names."
            ) from error
        if kind in _NO_ANSWER:
            raise PassingError(
                f"{url}: found no answer ({error}); expected a server that every node reaches. Check "
                "the network and AWS_ENDPOINT_URL, and run the same command again."
            ) from error
        raise
