"""A folder over HTTP: its files and nothing else, each with its type and the headers that keep a page in its place."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest

from prt_bench.board.serving import HEADERS, SiteServer, open_server
from prt_bench.errors import RequestError

Ask = Callable[..., tuple[HTTPResponse, bytes]]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A small site, and what must not be had of it."""
    folder = tmp_path / "site"
    for name, text in {
        "index.html": "<p>é</p>",
        "pairs/a__b.html": "pair",
        "assets/board.css": "p {}",
        "assets/tables.js": ";",
        "results.json": "[]",
        "results.csv": "a,b",
        "chart.svg": "<svg/>",
        "other.bin": "?",
        "a b.html": "blank",
        ".hidden": "hidden",
        ".git/config": "hidden",
        "../secret.txt": "secret",
        "../site2/secret.txt": "secret",
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    (folder / "folder").symlink_to(tmp_path / "site2")
    (folder / "near.html").symlink_to(folder / "index.html")
    (folder / "round").symlink_to(folder / "round")
    os.mkfifo(folder / "pipe")
    return folder


@pytest.fixture
def server(site: Path) -> Iterator[SiteServer]:
    opened = open_server(site, "127.0.0.1", 0)
    thread = threading.Thread(target=opened.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield opened
    opened.shutdown()
    thread.join()
    opened.server_close()


@pytest.fixture
def ask(server: SiteServer) -> Ask:
    def call(target: str, method: str = "GET") -> tuple[HTTPResponse, bytes]:
        connection = HTTPConnection("127.0.0.1", server.server_port, timeout=10)
        connection.putrequest(method, target, skip_host=True)
        connection.putheader("Host", "localhost")
        connection.endheaders()
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer, body

    return call


@pytest.mark.parametrize(
    ("target", "kind", "body"),
    [
        ("/", "text/html; charset=utf-8", "<p>é</p>"),
        ("/index.html", "text/html; charset=utf-8", "<p>é</p>"),
        ("/index.html?q=1#x", "text/html; charset=utf-8", "<p>é</p>"),
        ("/pairs/a__b.html", "text/html; charset=utf-8", "pair"),
        ("/a%20b.html", "text/html; charset=utf-8", "blank"),
        ("/assets/board.css", "text/css; charset=utf-8", "p {}"),
        ("/assets/tables.js", "text/javascript; charset=utf-8", ";"),
        ("/results.json", "application/json; charset=utf-8", "[]"),
        ("/results.csv", "text/csv; charset=utf-8", "a,b"),
        ("/chart.svg", "image/svg+xml; charset=utf-8", "<svg/>"),
        ("/other.bin", "application/octet-stream", "?"),
        ("/near.html", "text/html; charset=utf-8", "<p>é</p>"),
    ],
)
def test_files_come_with_their_type_and_the_headers(ask: Ask, target: str, kind: str, body: str) -> None:
    for method in ("GET", "HEAD"):
        answer, got = ask(target, method)
        assert answer.status == 200
        assert got == (body.encode() if method == "GET" else b"")
        assert answer.headers["Content-Type"] == kind
        assert int(answer.headers["Content-Length"]) == len(body.encode())
        assert {name: answer.headers.get_all(name) for name in HEADERS} == {k: [v] for k, v in HEADERS.items()}
        assert answer.headers["Server"] == "prt-bench"


@pytest.mark.parametrize(
    "target",
    [
        "/../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt", "/pairs/../../secret.txt", "/../site2/secret.txt",
        "/..%5csecret.txt", "//../secret.txt", "/link.txt", "/folder/secret.txt", "/.hidden", "/.git/config",
        "/pairs/../.hidden", "/pairs", "/pairs/", "/assets/", "/index.html/", "/./index.html", "/pairs/../index.html",
        "/pairs//a__b.html", "/none.html", "/index.html%00", "/%00", "/%ff", "/round", "/pipe", "/" + "x" * 5000,
        "/" + "x/" * 5000, "/%2fetc%2fpasswd", "//etc/passwd", "http://[broken/",
    ],
)  # fmt: skip
def test_nothing_else_is_to_be_had(ask: Ask, site: Path, target: str) -> None:
    for method in ("GET", "HEAD"):
        answer, body = ask(target, method)
        assert answer.status == 404
        assert b"secret" not in body
        assert b"hidden" not in body
        assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert {name: answer.headers.get_all(name) for name in HEADERS} == {k: [v] for k, v in HEADERS.items()}


def test_an_absolute_path_names_no_file_of_the_machine(ask: Ask, tmp_path: Path) -> None:
    answer, body = ask(f"/{tmp_path}/secret.txt")
    assert (answer.status, b"secret" in body) == (404, False)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "<script>"])
def test_only_reading_is_answered(ask: Ask, method: str) -> None:
    answer, _ = ask("/index.html", method)
    assert answer.status == 501
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"


def test_the_policy_is_the_strict_one() -> None:
    policy = HEADERS["Content-Security-Policy"].split("; ")
    assert policy[0] == "default-src 'none'"
    assert "frame-ancestors 'none'" in policy
    assert not any(unsafe in part for part in policy for unsafe in ("unsafe", "*", "http"))


def test_a_page_that_was_built_again_is_seen(ask: Ask, site: Path) -> None:
    assert ask("/")[1] == "<p>é</p>".encode()
    (site / "index.html").write_text("new", encoding="utf-8")
    assert ask("/")[1] == b"new"


def test_the_address_is_that_of_this_machine_alone(server: SiteServer) -> None:
    assert server.address == f"http://127.0.0.1:{server.server_port}/"
    assert server.socket.getsockname()[0] == "127.0.0.1"


def test_no_name_is_looked_up(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_: object) -> str:
        raise AssertionError("a name of this machine was asked for")

    monkeypatch.setattr(socket, "getfqdn", asked)
    open_server(site, "127.0.0.1", 0).server_close()


def test_a_port_in_use_is_told_in_one_line(server: SiteServer, site: Path) -> None:
    with pytest.raises(RequestError, match=f"^--port {server.server_port}: in use already; .* 0 for any free one$"):
        open_server(site, "127.0.0.1", server.server_port)


@pytest.mark.parametrize("host", ["192.0.2.1", "x" * 300])
def test_a_host_that_is_not_ours_is_told_in_one_line(site: Path, host: str) -> None:
    with pytest.raises(RequestError, match=f"^--host {host}") as told:
        open_server(site, host, 0)
    assert "\n" not in str(told.value)


def test_a_host_that_nobody_knows_is_told_in_one_line(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(
        RequestError, match=r"^--host nowhere: no such address; 127\.0\.0\.1 serves this machine alone$"
    ):
        open_server(site, "nowhere", 0)


def test_requests_are_told_to_who_asks(
    ask: Ask, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.INFO, logger="prt_bench.board.serving"):
        ask("/index.html")
    assert "GET /index.html" in caplog.text
    assert capfd.readouterr().out == ""


def test_a_browser_that_goes_away_is_no_error(
    server: SiteServer, site: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (site / "large.bin").write_bytes(b"x" * 20_000_000)
    with socket.create_connection(("127.0.0.1", server.server_port)) as gone:
        gone.sendall(b"GET /large.bin HTTP/1.0\r\n\r\n")
        gone.recv(10)
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as asking:
        asking.sendall(b"GET /results.csv HTTP/1.0\r\n\r\n")
        assert b"200" in asking.recv(100)
    assert "Traceback" not in capfd.readouterr().err
