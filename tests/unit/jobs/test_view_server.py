"""What `factory view` answers on the wire, and what it refuses."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import typer
from mix_sources import case, drawn, make_source, volume_of
from typer.testing import CliRunner
from view_sites import served

from factory.errors import UsageError
from jobs.view import job
from jobs.view.catalog import open_catalog
from jobs.view.command import command
from jobs.view.server import POLICY, Server
from jobs.view.site import Site


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("view") / "lake"
    return make_source(folder, "lake", [case("A"), drawn("A", 0)])


@pytest.fixture(scope="module")
def server(place: str) -> Iterator[Server]:
    with served(place) as running:
        yield running


def answer(
    server: Server, path: str, method: str = "GET", **headers: str
) -> tuple[HTTPResponse, bytes]:
    connection = HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    connection.putrequest(method, path, skip_host="Host" in headers, skip_accept_encoding=True)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response, content


def below(server: Server, path: str) -> str:
    return urlsplit(server.url).path + path


def raw(server: Server, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_a_volume_comes_as_its_hu_and_labels_to_the_last_bit(server: Server) -> None:
    volume = volume_of(str(drawn("A", 0)["work_id"]))
    response, content = answer(server, below(server, "volumes/1"))
    assert response.status == 200
    assert content == volume.ct.astype("<i2").tobytes() + volume.layout.tobytes()


def test_only_loopback_is_listened_to(server: Server) -> None:
    assert server.socket.getsockname()[0] == "127.0.0.1"
    assert server.url.startswith(f"http://127.0.0.1:{server.server_port}/")


def test_an_address_holds_a_secret_of_its_own(place: str, server: Server) -> None:
    with Server(Site(open_catalog(place)), 0) as other:
        secrets = [urlsplit(one.url).path.strip("/") for one in (server, other)]
    assert len(set(secrets)) == 2
    assert min(map(len, secrets)) >= 22


@pytest.mark.parametrize(
    "path", ["/", "/rows", "/volumes/0", "/x/volumes/0", "//volumes/0", "*", "x"]
)
def test_nothing_is_answered_without_the_secret(server: Server, path: str) -> None:
    response, content = answer(server, path)
    assert response.status == 404
    assert b"A" not in content


def test_a_secret_that_is_almost_right_is_wrong(server: Server) -> None:
    token = urlsplit(server.url).path.strip("/")
    for wrong in (token[:-1], token + "a", token.swapcase(), token[:-1] + "%61"):
        assert answer(server, f"/{wrong}/rows")[0].status == 404, wrong
    assert answer(server, f"/{token}/rows")[0].status == 200
    assert answer(server, f"/{token}")[0].status == 404


def test_a_strangers_name_that_leads_to_this_machine_is_refused(server: Server) -> None:
    port, path = server.server_port, below(server, "rows")
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", f"LocalHost:{port}"):
        assert answer(server, path, Host=host)[0].status == 200, host
    for host in (
        f"evil.example:{port}",
        "127.0.0.1",
        f"127.0.0.1:{port + 1}",
        f"127.0.0.1:{port}.evil.example",
        f"x@127.0.0.1:{port}",
        f"0.0.0.0:{port}",
        "",
    ):
        response, content = answer(server, path, Host=host)
        assert response.status == 403, host
        assert content == b"this host is not served\n"


def test_two_hosts_or_none_are_refused(server: Server) -> None:
    good = f"Host: 127.0.0.1:{server.server_port}\r\n".encode()
    start = f"GET {below(server, 'rows')} HTTP/1.1\r\n".encode()
    assert raw(server, start + good + b"\r\n").startswith(b"HTTP/1.0 200")
    assert raw(server, start + good + b"Host: evil\r\n\r\n").startswith(b"HTTP/1.0 403")
    assert raw(server, start + b"\r\n").startswith(b"HTTP/1.0 403")


@pytest.mark.parametrize(
    "path",
    [
        "../lake/dataset.json",
        "../../../../etc/passwd",
        "%2e%2e/%2e%2e/etc/passwd",
        "volumes/../../dataset.json",
        "volumes/%2e%2e%2fdataset.json",
        "volumes/..%5c..%5cetc%5cpasswd",
        "/etc/passwd",
        "volumes//etc/passwd",
        "volumes/file:///etc/passwd",
        "volumes/A.ome.zarr/zarr.json",
        "volumes/0/zarr.json",
        "manifest.parquet",
        "dataset.json",
        "view.py",
        "page/view.html",
        "volumes/-1",
        "volumes/0x0",
        "volumes/2",
        "volumes/999999999999",
        "volumes/9999999999999999999999",
        "volumes/",
        "rows/\u0662".encode().decode("latin-1"),
        "volumes/1%00",
        "volumes/1 ",
    ],
)
def test_no_path_is_taken_from_who_asks(server: Server, path: str) -> None:
    target = below(server, path).encode("latin-1").replace(b" ", b"%20")
    host = f"Host: 127.0.0.1:{server.server_port}\r\n\r\n".encode()
    found = raw(server, b"GET " + target + b" HTTP/1.1\r\n" + host)
    assert found.startswith(b"HTTP/1.0 404")
    assert b"root:" not in found
    assert b"zarr_format" not in found


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "X"])
def test_only_get_and_head_are_answered(server: Server, method: str) -> None:
    response, content = answer(server, below(server, "rows"), method)
    assert response.status == 405
    assert response.getheader("Allow") == "GET, HEAD"
    assert content == b"Method Not Allowed\n"


def test_head_says_how_much_there_is_and_sends_nothing(server: Server) -> None:
    host = f"Host: 127.0.0.1:{server.server_port}\r\n\r\n"
    found = raw(server, f"HEAD {below(server, 'volumes/1')} HTTP/1.1\r\n{host}".encode())
    assert found.startswith(b"HTTP/1.0 200")
    assert f"Content-Length: {3 * 4 * 6 * 8}\r\n".encode() in found
    assert found.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("path", ["", "rows", "volumes/1", "nothing"])
def test_every_answer_keeps_others_out(server: Server, path: str) -> None:
    response, _ = answer(server, below(server, path))
    assert response.getheader("Content-Security-Policy") == POLICY
    assert response.getheader("X-Content-Type-Options") == "nosniff"
    assert response.getheader("Cross-Origin-Resource-Policy") == "same-origin"
    assert response.getheader("Referrer-Policy") == "no-referrer"
    assert response.getheader("Cache-Control") == "no-store"
    assert response.getheader("Access-Control-Allow-Origin") is None
    assert POLICY.startswith("default-src 'none'; script-src 'self';")
    assert "unsafe" not in POLICY
    assert "frame-ancestors 'none'" in POLICY


def test_what_is_no_http_is_answered_without_being_repeated(server: Server) -> None:
    for request in (b"<script>alert(1)</script> x y z\r\n\r\n", b"GET /\xff\xfe HTTP/9.9\r\n\r\n"):
        found = raw(server, request)
        assert b"script>" not in found
    assert answer(server, below(server, "rows"))[0].status == 200


def test_a_bug_is_told_and_the_next_request_is_answered(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("secret of the code")

    with monkeypatch.context() as patch:
        patch.setattr(Site, "answer", broken)
        response, content = answer(server, below(server, "rows"))
    assert response.status == 500
    assert content == b"failed: KeyError\n"
    assert "secret of the code" in capsys.readouterr().err
    assert answer(server, below(server, "rows"))[0].status == 200


def test_a_browser_that_leaves_is_no_failure(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    socket.create_connection(("127.0.0.1", server.server_port)).close()
    assert answer(server, below(server, "rows"))[0].status == 200
    assert capsys.readouterr().err == ""


def test_a_port_that_is_taken_is_named_with_the_way_out(place: str, server: Server) -> None:
    with pytest.raises(
        UsageError, match=rf"--port {server.server_port}: found .*; expected a free port"
    ):
        Server(Site(open_catalog(place)), server.server_port)


def test_it_serves_until_it_is_interrupted_and_ends_well(place: str) -> None:
    code = "import typer; from jobs.view.command import command; typer.run(command)"
    started = subprocess.Popen(
        [sys.executable, "-c", code, place, "--no-browser"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert started.stdout is not None
        url = urlsplit(started.stdout.readline().strip())
        assert url.port is not None
        connection = HTTPConnection("127.0.0.1", url.port, timeout=10)
        connection.request("GET", f"{url.path}rows")
        assert connection.getresponse().status == 200
        connection.close()
        started.send_signal(signal.SIGINT)
        out, told = started.communicate(timeout=20)
    finally:
        started.kill()
    assert started.returncode == 0
    assert out == ""
    assert f"2 volumes of {place}. Ctrl-C ends it" in told
    assert "ended" in told
    assert "Traceback" not in told
    assert url.path not in told


def run(monkeypatch: pytest.MonkeyPatch, *words: str, **environment: str) -> tuple[Any, list[str]]:
    """Run the command without serving; return its result, and what a browser was told to open."""
    opened: list[str] = []
    monkeypatch.setattr(job.webbrowser, "open", lambda url: opened.append(url) or True)
    monkeypatch.setattr(Server, "serve_forever", lambda _: None)
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    app = typer.Typer()
    app.command()(command)
    return CliRunner().invoke(app, words), opened


def test_a_browser_is_opened_at_the_address_that_is_printed(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    result, opened = run(monkeypatch, place, DISPLAY=":0")
    assert result.exit_code == 0
    assert opened == [result.stdout.strip()]


def test_no_browser_is_opened_where_none_is_wanted_or_there_is_no_screen(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    result, opened = run(monkeypatch, place, "--no-browser", DISPLAY=":0")
    assert (result.exit_code, opened) == (0, [])
    monkeypatch.setattr(sys, "platform", "linux")
    result, opened = run(monkeypatch, place)
    assert (result.exit_code, opened) == (0, [])
    assert "no browser could be opened here" in result.stderr


def test_the_lake_is_the_workspaces_where_none_is_named(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "factory.toml").write_text(f'[paths]\nlake = "{place}"\n')
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, "--no-browser")[0].exit_code == 0
