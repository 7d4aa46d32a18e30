"""The web on the loopback interface: an HTTPS proxy that answers for any address itself.

    with LoopbackWeb(tmp_path) as web:
        web.pages["https://drive.google.com/uc?id=1"] = Page(b"...")
        subprocess.run([...], env={**os.environ, **web.environment()})

The client is the real one, with the real addresses: requests goes through HTTPS_PROXY and trusts REQUESTS_CA_BUNDLE.
"""

import ssl
import subprocess
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self

HOSTS = ("drive.google.com", "drive.usercontent.google.com", "raw.githubusercontent.com", "s3.amazonaws.com")


@dataclass
class Page:
    """An answer. ``cuts`` are after how many bytes the next answers break off."""

    body: bytes
    content_type: str = "application/octet-stream"
    attachment: str = ""
    status: int = 200
    cuts: list[int] = field(default_factory=list)


class LoopbackWeb:
    """Serves ``pages`` by address, and records what was asked for."""

    def __init__(self, folder: Path) -> None:
        """``folder`` takes the certificate, made anew with openssl."""
        self.pages: dict[str, Page] = {}
        self.requests: list[tuple[str, str | None]] = []  # (address, Range header)
        self._certificate, key = folder / "certificate.pem", folder / "key.pem"
        names = ",".join(f"DNS:{host}" for host in HOSTS)
        command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=loopback"
        subprocess.run(
            [*command.split(), "-addext", f"subjectAltName={names}", "-keyout", key, "-out", self._certificate],
            check=True,
            capture_output=True,
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._certificate, key)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_class(self, context))
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def environment(self) -> dict[str, str]:
        """Variables that send a client process here with all that is HTTPS."""
        proxy = f"http://127.0.0.1:{self._server.server_port}"
        return {
            "HTTPS_PROXY": proxy,
            "https_proxy": proxy,
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
            "REQUESTS_CA_BUNDLE": str(self._certificate),
        }

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler_class(web: LoopbackWeb, context: ssl.SSLContext) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        host = ""

        def do_CONNECT(self) -> None:
            """Be the host that the client wants a tunnel to: the next requests on this connection are for it."""
            self.host = self.path.partition(":")[0]
            self.send_response(200)
            self.end_headers()
            self.connection = context.wrap_socket(self.connection, server_side=True)
            self.rfile = self.connection.makefile("rb")
            self.wfile = self.connection.makefile("wb", 0)
            self.close_connection = False

        def do_GET(self) -> None:
            address, asked = f"https://{self.host}{self.path}", self.headers.get("Range")
            web.requests.append((address, asked))
            page = web.pages.get(address, Page(b"not here", "text/plain", status=404))
            first = int(asked.removeprefix("bytes=").split("-")[0]) if asked else 0
            self.send_response(206 if asked else page.status)
            self.send_header("Content-Type", page.content_type)
            self.send_header("Content-Length", str(len(page.body) - first))
            if page.attachment:
                self.send_header("Content-Disposition", f'attachment; filename="{page.attachment}"')
            if asked:
                self.send_header("Content-Range", f"bytes {first}-{len(page.body) - 1}/{len(page.body)}")
            self.end_headers()
            cut = page.cuts.pop(0) if page.cuts else None
            self.wfile.write(page.body[first:][:cut])
            self.close_connection = self.close_connection or cut is not None

        def finish(self) -> None:
            if isinstance(self.connection, ssl.SSLSocket):
                self.connection.close()
            super().finish()

        def log_message(self, format: str, *arguments: object) -> None:
            """Keep the test's output clean."""

    return Handler
