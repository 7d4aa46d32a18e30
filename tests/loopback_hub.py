"""A Hugging Face hub on the loopback interface, for tests that use the real huggingface_hub client.

    with LoopbackHub(folder) as hub:
        subprocess.run([...], env={**os.environ, **hub.environment(cache=tmp_path)})

``folder/<owner>/<name>/`` is served as the model repository ``<owner>/<name>``, ``folder/datasets/<owner>/<name>/`` as
the data set; both may be added to while the hub runs. ``<name>@<branch>/`` is another branch, its slashes as "_".
huggingface_hub reads HF_ENDPOINT when it is imported, hence the subprocess.
"""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import unquote, urlsplit


class LoopbackHub:
    """Serves the metadata and the files of the repositories below a folder, and records what was asked of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.requests: list[tuple[str, str]] = []  # (method, path), in the order of arrival
        self.ranges: list[str] = []  # the Range headers among them
        self.break_off: dict[str, list[int]] = {}  # after how many bytes the next answers with a file break off
        self.no_revisions: set[str] = set()  # asking for these is refused
        self.corrupt: set[str] = set()  # files that are sent with another content than their hash says
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_class(self))
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def environment(self, cache: Path) -> dict[str, str]:
        """Variables that send a client process here, with a hub cache of its own."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(cache),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }

    def close(self) -> None:
        """Stop answering; from here on a client meets a refused connection."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread.is_alive():
            self.close()


def _repository_files(repository: Path) -> list[Path]:
    return sorted(path for path in repository.rglob("*") if path.is_file())


def _sha1(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


def _git_blob(content: bytes) -> str:
    return _sha1(b"blob %d\0" % len(content) + content)


def _lfs_entry(path: Path) -> dict[str, object]:
    """As the hub does it, Parquet files are large files and JSON files are not."""
    if path.suffix != ".parquet":
        return {}
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return {"lfs": {"size": path.stat().st_size, "sha256": sha256, "pointerSize": 130}}


def _commit(repository: Path) -> str:
    """40 hexadecimal digits that change whenever a file of the repository does, as a git commit would."""
    digest = hashlib.sha1()
    for path in _repository_files(repository):
        digest.update(path.relative_to(repository).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _branch(repository: Path, revision: str) -> Path:
    """The folder of a branch, given its name or its commit; of the main one where no other has that."""
    for branch in repository.parent.glob(f"{repository.name}@*"):
        if branch.name == f"{repository.name}@{revision.replace('/', '_')}" or _commit(branch) == revision:
            return branch
    return repository


def _handler_class(hub: LoopbackHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer()

        def do_GET(self) -> None:
            self._answer()

        def log_message(self, format: str, *arguments: object) -> None:
            """Keep the test's output clean."""

        def _answer(self) -> None:
            path = urlsplit(self.path).path
            hub.requests.append((self.command, unquote(path)))
            parts = [unquote(part) for part in path.strip("/").split("/")]  # a revision's name may hold slashes
            if parts[:2] == ["api", "models"]:
                self._answer_metadata(parts[2:])
            elif parts[:2] == ["api", "datasets"]:
                self._answer_metadata(parts[1:])
            elif "resolve" in parts:
                at = parts.index("resolve")
                self._answer_file("/".join(parts[:at]), parts[at + 1], "/".join(parts[at + 2 :]))
            else:
                self._refuse("EntryNotFound", "no such page")

        def _answer_metadata(self, parts: list[str]) -> None:
            """``<id>``, ``<id>/revision/<revision>``, ``<id>/tree/<revision>`` and the tree of a folder in it."""
            folder: list[str] = []
            if "tree" in parts:
                end = parts.index("tree") + 2
                parts, folder = parts[:end], parts[end:]
            wants_tree = parts[-2:-1] == ["tree"]
            has_revision = wants_tree or parts[-2:-1] == ["revision"]
            name = "/".join(parts[:-2] if has_revision else parts)
            repository = _branch(hub.folder / name, parts[-1] if has_revision else "main")
            if not repository.is_dir():
                return self._refuse("RepoNotFound", "Repository not found")
            if parts[-1] in hub.no_revisions:
                return self._refuse("RevisionNotFound", "Revision not found")
            files = {path.relative_to(repository).as_posix(): path for path in _repository_files(repository)}
            if folder:
                files = {file: path for file, path in files.items() if file.startswith("/".join([*folder, ""]))}
                if not files:
                    return self._refuse("EntryNotFound", "Entry not found")
            if wants_tree:
                content: object = [
                    {"type": "file", "path": file, "size": path.stat().st_size, "oid": _sha1(path.read_bytes())}
                    for file, path in files.items()
                ]
            else:
                siblings = [
                    {
                        "rfilename": file,
                        "size": path.stat().st_size,
                        "blobId": _git_blob(path.read_bytes()),
                        **_lfs_entry(path),
                    }
                    for file, path in files.items()
                ]
                content = {"id": name, "modelId": name, "sha": _commit(repository), "siblings": siblings}
            self._send(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

        def _answer_file(self, name: str, revision: str, file: str) -> None:
            repository = _branch(hub.folder / name, revision)
            if not repository.is_dir():
                return self._refuse("RepoNotFound", "Repository not found")
            path = repository / file
            headers = {"X-Repo-Commit": _commit(repository)}
            if not path.is_file():
                return self._refuse("EntryNotFound", "Entry not found", headers)
            body = path.read_bytes()
            headers["ETag"] = f'"{_sha1(body)}"'
            if path.name in hub.corrupt:
                body = bytes(reversed(body))
            first = 0
            if asked := self.headers.get("Range"):
                hub.ranges.append(asked)
                first = int(asked.removeprefix("bytes=").split("-")[0])
                headers["Content-Range"] = f"bytes {first}-{len(body) - 1}/{len(body)}"
            cuts = hub.break_off.get(path.name) if self.command == "GET" else None
            cut = cuts.pop(0) if cuts else None
            self._send(206 if asked else 200, body[first:], headers, cut)

        def _refuse(self, code: str, message: str, headers: dict[str, str] | None = None) -> None:
            self._send(404, b"", {"X-Error-Code": code, "X-Error-Message": message, **(headers or {})})

        def _send(self, status: int, body: bytes, headers: dict[str, str], cut: int | None = None) -> None:
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body[:cut])
            self.close_connection = self.close_connection or cut is not None

    return Handler
