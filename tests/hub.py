"""A hub of our own on this machine: the few calls of the Hugging Face hub's protocol that pushing
and loading make, over a folder.
"""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class _Handler(BaseHTTPRequestHandler):
    folder: Path
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Stay silent."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if path.startswith("/api/models/"):
            owner, name, *rest = path.removeprefix("/api/models/").split("/")
            repo = self.folder / owner / name
            files = sorted(
                str(file.relative_to(repo)) for file in repo.rglob("*") if file.is_file()
            )
            if not files:
                self._missing("RepoNotFound")
            elif rest[:1] == ["tree"] and rest[2:]:
                self._missing(
                    "EntryNotFound"
                )  # a folder inside the repository: no pair has the one that is asked for
            elif rest[:1] == ["tree"]:
                self._json(
                    [
                        {
                            "type": "file",
                            "path": file,
                            "size": (repo / file).stat().st_size,
                            "oid": COMMIT,
                        }
                        for file in files
                    ]
                )
            else:
                self._json(
                    {
                        "id": f"{owner}/{name}",
                        "modelId": f"{owner}/{name}",
                        "sha": COMMIT,
                        "siblings": [{"rfilename": file} for file in files],
                    }
                )
            return
        if (
            path.count("/") < 5
        ):  # the client asks for more than it needs, and takes no for an answer
            self._missing("EntryNotFound")
            return
        owner, name, _, _, file = path.strip("/").split("/", 4)
        found = self.folder / owner / name / file
        if not found.is_file():
            self._missing(
                "EntryNotFound"
                if found.parents[len(Path(file).parts) - 1].is_dir()
                else "RepoNotFound"
            )
            return
        self._send(
            found.read_bytes(),
            {
                "X-Repo-Commit": COMMIT,
                "ETag": f'"{hashlib.sha256(found.read_bytes()).hexdigest()}"',
            },
        )

    def do_POST(self) -> None:
        body = (
            self.rfile.read(int(self.headers["Content-Length"]))
            if "Content-Length" in self.headers
            else self._chunks()
        )
        path = urlsplit(self.path).path
        if path == "/api/repos/create":
            wanted = json.loads(body)
            repo = f"{wanted.get('organization') or 'us'}/{wanted['name']}"
            (self.folder / repo).mkdir(parents=True, exist_ok=True)
            self._json({"url": f"http://{self.headers['Host']}/{repo}", "id": repo, "name": repo})
        elif "/preupload/" in path:
            self._json(
                {
                    "files": [
                        {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                        for file in json.loads(body)["files"]
                    ]
                }
            )
        elif "/commit/" in path:
            repo = self.folder.joinpath(*path.removeprefix("/api/models/").split("/")[:2])
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    file = repo / line["value"]["path"]
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.write_bytes(base64.b64decode(line["value"]["content"]))
            name = repo.relative_to(self.folder)
            self._json(
                {
                    "success": True,
                    "commitOid": COMMIT,
                    "commitUrl": f"http://{self.headers['Host']}/{name}/commit/{COMMIT}",
                }
            )
        else:
            self._json({})

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _missing(self, code: str) -> None:
        self._send(b"{}", {"X-Error-Code": code, "X-Error-Message": code}, 404)

    def _json(self, value: object) -> None:
        self._send(json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, body: bytes, headers: dict[str, str], status: int = 200) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Serve `folder` (OWNER/NAME/files) as a hub; yield its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"folder": folder}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
