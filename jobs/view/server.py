"""HTTP on 127.0.0.1, for one user of this machine.

Other programs and other pages of the browser are kept out: an address holds a secret of 128 bits, a
request must name 127.0.0.1 or localhost as its host (no name of a stranger's that was turned to this
machine), and nothing but GET and HEAD is answered.
"""

import secrets
import socketserver
import sys
from hmac import compare_digest
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from factory.errors import UsageError
from factory.refused import found_of
from jobs.console import say
from jobs.view.site import Answer, Site, refusal

ADDRESS = "127.0.0.1"

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""A page may run its own scripts and ask this server, and nothing else."""

_HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}
_SECONDS_OF_SILENCE = 30
_HTTP_PORT = 80


class Server(ThreadingHTTPServer):
    """Serves a site on loopback.

    Args:
        site: What answers.
        port: 0 takes a free one.

    Raises:
        UsageError: The port is taken, or not to be had.
    """

    daemon_threads = True

    def __init__(self, site: Site, port: int) -> None:
        self.site = site
        self._token = secrets.token_urlsafe(16)
        try:
            super().__init__((ADDRESS, port), _Handler)
        except OSError as error:
            raise UsageError(
                f"--port {port}: found {found_of(error)}; expected a free port. Choose another, or 0 "
                "for any."
            ) from error

    @property
    def url(self) -> str:
        """What to open in a browser."""
        return f"http://{ADDRESS}:{self.server_port}/{self._token}/"

    @property
    def hosts(self) -> frozenset[str]:
        """What a request may call this server."""
        names = (ADDRESS, "localhost")
        bare = names if self.server_port == _HTTP_PORT else ()
        return frozenset({*(f"{name}:{self.server_port}" for name in names), *bare})

    def server_bind(self) -> None:
        """Bind; http.server would ask a name server what this machine is called."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = ADDRESS, self.server_address[1]

    def path_of(self, target: str) -> str | None:
        """Return what follows the secret in a request's path; None where that is another."""
        start, _, rest = target.partition("/")
        token, found, path = rest.partition("/")
        is_ours = not start and found and compare_digest(token.encode(), self._token.encode())
        return path if is_ours else None

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say what went wrong; a browser that no longer listens is nothing wrong."""
        error = sys.exception()
        if not isinstance(error, ConnectionError | TimeoutError):
            say(f"view: a request failed: {type(error).__name__}: {error}")


class _Handler(BaseHTTPRequestHandler):
    server: Server
    timeout = _SECONDS_OF_SILENCE
    server_version, sys_version = "factory-view", ""

    def do_GET(self) -> None:
        self._send(self._answer())

    def do_HEAD(self) -> None:
        self._send(self._answer())

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what could not be parsed, or is no GET, without repeating it."""
        if code == HTTPStatus.NOT_IMPLEMENTED:
            code = HTTPStatus.METHOD_NOT_ALLOWED
        status = HTTPStatus(code)
        self._send(refusal(status, status.phrase))

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: each path holds the secret."""

    def _answer(self) -> Answer:
        hosts = self.headers.get_all("Host", [])
        if len(hosts) != 1 or hosts[0].lower() not in self.server.hosts:
            return refusal(HTTPStatus.FORBIDDEN, "this host is not served")
        target, _, query = self.path.partition("?")
        path = self.server.path_of(target)
        if path is None:
            return refusal(
                HTTPStatus.NOT_FOUND, "nothing is here; open the address that was printed"
            )
        try:
            return self.server.site.answer(path, query)
        except Exception as error:
            # A bug; the page tells it, and goes on.
            say(f"view: {type(error).__name__}: {error}")
            return refusal(HTTPStatus.INTERNAL_SERVER_ERROR, f"failed: {type(error).__name__}")

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        headers = {**_HEADERS, **answer.headers, "Content-Type": answer.kind}
        if answer.status == HTTPStatus.METHOD_NOT_ALLOWED:
            headers["Allow"] = "GET, HEAD"
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.content)
