"""A folder of static files over HTTP, for one's own browser."""

from __future__ import annotations

import errno
import logging
import os
import socket
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from prt_bench.board.templating import POLICY
from prt_bench.errors import RequestError

__all__ = ["HEADERS", "SiteServer", "open_server"]

HEADERS = {
    "Content-Security-Policy": f"{POLICY}; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
"""Of every answer, errors included."""
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json; charset=utf-8",
    ".csv": "text/csv; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".bib": "text/plain; charset=utf-8",
    ".svg": "image/svg+xml; charset=utf-8",
    ".png": "image/png",
}
OTHER_TYPE = "application/octet-stream"
INDEX = "index.html"
PATIENCE = 30.0
"""Seconds that a client may take to ask."""

log = logging.getLogger(__name__)


class SiteServer(ThreadingHTTPServer):
    """Serves one folder; listens from the moment it is made."""

    def __init__(self, site: Path, family: socket.AddressFamily, where: tuple[Any, ...]) -> None:
        self.site = site
        self.address_family = family
        super().__init__(where, SiteHandler)

    def server_bind(self) -> None:
        # HTTPServer would ask the network for a name of this machine.
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that went away is no error."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)

    @property
    def address(self) -> str:
        """What to open in a browser."""
        name = f"[{self.server_name}]" if ":" in self.server_name else self.server_name
        return f"http://{name}:{self.server_port}/"


class SiteHandler(BaseHTTPRequestHandler):
    """Answers GET and HEAD for plain files of the folder, and nothing else."""

    server: SiteServer
    timeout = PATIENCE
    error_content_type = "text/plain; charset=utf-8"
    error_message_format = "%(code)d %(message)s\n"

    def do_GET(self) -> None:
        """The file's bytes."""
        self._answer(body=True)

    def do_HEAD(self) -> None:
        """What GET would say of the file."""
        self._answer(body=False)

    def _answer(self, body: bool) -> None:
        file = _inside(self.server.site, self.path)
        try:
            content = file.read_bytes() if file else None
        except OSError:
            content = None
        if file is None or content is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", TYPES.get(file.suffix.lower(), OTHER_TYPE))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def end_headers(self) -> None:
        """Whatever is answered, the headers are there."""
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def version_string(self) -> str:
        """Nobody needs to know which Python this is."""
        return "prt-bench"

    def log_message(self, format: str, *args: Any) -> None:
        """Seen with --log-level info."""
        log.info("%r", format % args)


def open_server(site: Path, host: str, port: int) -> SiteServer:
    """A server of the folder `site` that listens; port 0 takes a free one. It serves until `shutdown`.

    Raises:
        RequestError: the port is in use or not allowed, or the host is none of this machine's addresses.
    """
    try:
        family, _, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return SiteServer(site, family, where)
    except (socket.gaierror, UnicodeError):
        raise RequestError(f"--host {host}: no such address; 127.0.0.1 serves this machine alone") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise RequestError(f"--port {port}: in use already; give another one, or 0 for any free one") from None
        what = os.strerror(error.errno) if error.errno else str(error)
        raise RequestError(f"--host {host} --port {port}: cannot be listened on ({what}); try --port 0") from None


def _inside(site: Path, target: str) -> Path | None:
    """The file of the folder that a request's target names; None where there is none, or it is not to be had."""
    root = site.resolve()
    try:
        asked = unquote(urlsplit(target).path, errors="strict").lstrip("/") or INDEX
        found = (root / asked).resolve()
        told = found.relative_to(root)
        hidden = any(part.startswith(".") for part in told.parts)
        # As asked, too: `a/../b` and `a.html/` name no file of the folder, whatever they resolve to.
        return found if found.is_file() and not hidden and _plain(asked) else None
    except (OSError, ValueError, RuntimeError):
        # Not decodable, too long, with a null byte, a circle of links, or outside.
        return None


def _plain(asked: str) -> bool:
    return not {"", ".", ".."} & set(asked.split("/")) and "\\" not in asked
