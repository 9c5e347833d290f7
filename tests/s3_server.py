"""A server of the S3 protocol on loopback, in a process of its own; it can be told to misbehave.

python tests/s3_server.py    prints its URL, and ends with its standard input

What is asked of it decides how: a key under one of these folders of a bucket is

    no-conditions/    refused with 501 where the put has a condition
    deaf/             put without its condition
    lost-answer/      put, but the first answer says 500
    busy/             refused with 409 the first time
"""

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

ACCESS_KEY = "AKIDLOOPBACKTESTS000"
SECRET_KEY = "s3cr3t/that+must/never/be/written/down00"
BUCKET = "factory-tests"

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def environment(url: str) -> dict[str, str]:
    """Return what a process needs to reach the server: all of it by the environment."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


@contextlib.contextmanager
def serve() -> Iterator[str]:
    """Run the server in another process, with an empty bucket, and yield its URL."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("AWS_")}
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).resolve())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        # moto signs nothing and asks for no account, but boto wants a key to be there.
        env={**kept, **environment("")} | {"AWS_ENDPOINT_URL": ""},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.stdin.close()
        process.wait(30)
        process.stdout.close()


class Unruly:
    """Lets one request at a time through to a server, and does not do what some of them ask."""

    def __init__(self, application: Application) -> None:
        self._application = application
        # moto looks whether an object is there, and then writes it: two steps, where S3 has one.
        self._one_at_a_time = threading.Lock()
        self._seen: set[str] = set()

    def __call__(self, request: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one request."""
        key = request["PATH_INFO"]
        first = key not in self._seen
        with self._one_at_a_time:
            is_conditional = request["REQUEST_METHOD"] == "PUT" and "HTTP_IF_NONE_MATCH" in request
            if is_conditional:
                self._seen.add(key)
                if "/no-conditions/" in key:
                    return _refuse(start, "501 Not Implemented", "NotImplemented")
                if "/busy/" in key and first:
                    return _refuse(start, "409 Conflict", "ConditionalRequestConflict")
                if "/deaf/" in key:
                    del request["HTTP_IF_NONE_MATCH"]
            if is_conditional and "/lost-answer/" in key and first:
                list(self._application(request, lambda *_: None))
                return _refuse(start, "500 Internal Server Error", "InternalError")
            return list(self._application(request, start))


def _refuse(start: Callable[..., Any], status: str, code: str) -> list[bytes]:
    start(status, [("Content-Type", "application/xml")])
    return [f"<Error><Code>{code}</Code><Message>{status}</Message></Error>".encode()]


def main() -> None:
    """Serve until standard input ends."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    application = Unruly(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, application, threaded=True)  # type: ignore[arg-type]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    _make_bucket(url)
    print(url, flush=True)
    sys.stdin.read()
    server.shutdown()


def _make_bucket(url: str) -> None:
    from s3fs import S3FileSystem

    S3FileSystem(key=ACCESS_KEY, secret=SECRET_KEY, endpoint_url=url).mkdir(BUCKET)


if __name__ == "__main__":
    main()
