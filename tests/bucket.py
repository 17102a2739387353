"""A bucket of Google Cloud Storage on this machine, for runs whose folder is `gs://…`.

`Bucket` serves the part of the JSON API that TensorStore's `gcs` driver speaks (Orbax writes arrays
by it) and that gcsfs speaks. `ObjectStore` is a file system of epath over the same server, for
machines without gcsfs. As in the real one there are no folders, an object is whole or not there,
and nothing can be appended to.
"""

from __future__ import annotations

import contextlib
import fnmatch
import io
import json
import re
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from etils.epath import backend, gpath, stat_utils

NAME = "bucket"


class Bucket:
    """The server and the objects in it."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.versions: dict[str, int] = {}
        self.lock = threading.RLock()
        self.refused = re.compile("(?!)")
        """Names of objects that cannot be written at the moment."""
        self.count = 0
        self.sessions: dict[str, str] = {}
        handler = type("Handler", (_Handler,), {"bucket": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    @contextlib.contextmanager
    def served(self) -> Iterator[Bucket]:
        """Inside, the server answers."""
        thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.server.shutdown()
            self.server.server_close()
            thread.join()

    def environment(self) -> dict[str, str]:
        """The variables that send TensorStore and gcsfs here."""
        return {
            "TENSORSTORE_GCS_HTTP_URL": self.url,
            "STORAGE_EMULATOR_HOST": self.url,
            "GOOGLE_AUTH_TOKEN_FOR_TESTING": "none",
            "EPATH_USE_TF": "0",
        }

    def put(self, name: str, content: bytes) -> dict[str, Any]:
        """Writes an object, and describes it."""
        with self.lock:
            self.count += 1
            self.objects[name], self.versions[name] = content, self.count
        return self.described(name)

    def described(self, name: str) -> dict[str, Any]:
        """What the JSON API says of an object."""
        return {
            "kind": "storage#object",
            "name": name,
            "bucket": NAME,
            "size": str(len(self.objects[name])),
            "generation": str(self.versions[name]),
            "metageneration": "1",
            "updated": "2026-01-01T00:00:00.000Z",
            "timeCreated": "2026-01-01T00:00:00.000Z",
        }


class _Handler(BaseHTTPRequestHandler):
    bucket: Bucket
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        path, query = self._asked()
        name = self._object(path)
        with self.bucket.lock:
            if name is None:
                return self._list(query) if path.endswith("/o") else self._json({"name": NAME})
            if name not in self.bucket.objects:
                return self._json({"error": {"code": 404}}, 404)
            content, version = self.bucket.objects[name], self.bucket.versions[name]
            if query.get("alt") != "media":
                return self._json(self.bucket.described(name))
        status, extra = 200, {"x-goog-generation": str(version)}
        if found := re.match(r"bytes=(\d*)-(\d*)$", self.headers.get("Range", "")):
            size, (first, last) = len(content), found.groups()
            begin = int(first) if first else max(0, size - int(last))
            end = min(size, int(last) + 1) if first and last else size
            if begin >= size:
                return self._reply(b"", 416)
            content, status = content[begin:end], 206
            extra["Content-Range"] = f"bytes {begin}-{end - 1}/{size}"
        self._reply(content, status, extra)

    def do_POST(self) -> None:
        path, query = self._asked()
        body = self._body()
        if found := re.search(r"/o/(.*)/(?:rewriteTo|copyTo)/b/[^/]*/o/(.*)$", path):
            source, name = map(urllib.parse.unquote, found.groups())
            if source not in self.bucket.objects:
                return self._json({"error": {"code": 404}}, 404)
            described = self.bucket.put(name, self.bucket.objects[source])
            return self._json({"done": True, "resource": described})
        kind = query.get("uploadType")
        if kind == "resumable":
            name = query.get("name") or json.loads(body)["name"]
            session = f"{self.bucket.url}{path}?uploadType=session&name={urllib.parse.quote(name)}"
            return self._reply(b"", 200, {"Location": session})
        if kind == "multipart":
            boundary = re.search(r"boundary=[\"']?([^\"';]+)", self.headers["Content-Type"])
            assert boundary
            parts = body.split(b"--" + boundary[1].encode())
            about, content = (
                part.split(b"\n\n", 1)[-1]
                if b"\r\n\r\n" not in part
                else part.split(b"\r\n\r\n", 1)[1]
                for part in parts[1:3]
            )
            body = content.removesuffix(b"\n").removesuffix(b"\r")
            query["name"] = json.loads(about)["name"]
        self._write(query["name"], body, query)

    def do_PUT(self) -> None:
        _, query = self._asked()
        self._write(query["name"], self._body(), query)

    def do_DELETE(self) -> None:
        path, _ = self._asked()
        with self.bucket.lock:
            name = self._object(path)
            if self.bucket.objects.pop(name or "", None) is None:
                return self._json({"error": {"code": 404}}, 404)
        self._reply(b"", 204)

    def _write(self, name: str, content: bytes, query: Mapping[str, str]) -> None:
        if self.bucket.refused.search(name):
            return self._json({"error": {"code": 403, "message": "quota"}}, 403)
        with self.bucket.lock:
            wanted = query.get("ifGenerationMatch")
            if wanted is not None and int(wanted) != (
                self.bucket.versions[name] if name in self.bucket.objects else 0
            ):
                return self._json({"error": {"code": 412}}, 412)
            described = self.bucket.put(name, content)
        self._json(described)

    def _list(self, query: Mapping[str, str]) -> None:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        items, prefixes = [], set()
        for name in sorted(self.bucket.objects):
            if not name.startswith(prefix):
                continue
            inside = name.removeprefix(prefix)
            if delimiter and delimiter in inside:
                prefixes.add(prefix + inside.partition(delimiter)[0] + delimiter)
            elif query.get("startOffset", "") <= name and not (
                query.get("endOffset") and name >= query["endOffset"]
            ):
                items.append(self.bucket.described(name))
        self._json({"kind": "storage#objects", "items": items, "prefixes": sorted(prefixes)})

    def _asked(self) -> tuple[str, dict[str, str]]:
        parts = urllib.parse.urlsplit(self.path)
        return parts.path, dict(urllib.parse.parse_qsl(parts.query))

    def _object(self, path: str) -> str | None:
        found = re.search(r"/b/[^/]*/o/(.+)$", path)
        return urllib.parse.unquote(found[1]) if found else None

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        pieces = []
        while size := int(self.rfile.readline().strip(), 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    def _json(self, content: Any, status: int = 200) -> None:
        self._reply(json.dumps(content).encode(), status, {"Content-Type": "application/json"})

    def _reply(
        self, content: bytes, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


class ObjectStore(backend.Backend):
    """What gcsfs does, for a bucket in this process."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket

    @contextlib.contextmanager
    def open(self, path, mode):
        name = _name(path)
        if mode.startswith("r"):
            if name not in self.bucket.objects:
                raise FileNotFoundError(path)
            content = self.bucket.objects[name]
            yield io.BytesIO(content) if "b" in mode else io.StringIO(content.decode())
            return
        assert not mode.startswith("a"), "gcsfs would overwrite the object"
        written = io.BytesIO() if "b" in mode else io.StringIO()
        yield written
        content = written.getvalue()
        self._put(name, content if isinstance(content, bytes) else content.encode())

    def _put(self, name, content):
        if self.bucket.refused.search(name):
            raise OSError(f"Forbidden: {name}")
        self.bucket.put(name, content)

    def exists(self, path):
        return _name(path) in self.bucket.objects or self.isdir(path)

    def isdir(self, path):
        return any(name.startswith(_name(path) + "/") for name in list(self.bucket.objects))

    def listdir(self, path):
        prefix = _name(path) + "/"
        inside = (name.removeprefix(prefix) for name in self.bucket.objects if prefix in name)
        return sorted({name.partition("/")[0] for name in inside})

    def glob(self, path):
        parent, _, pattern = str(path).rpartition("/")
        found = fnmatch.filter(self.listdir(parent), pattern)
        return [f"{parent}/{name}" for name in found]

    def walk(self, top, *, top_down=True, on_error=None):
        raise NotImplementedError

    def makedirs(self, path, *, exist_ok=False, mode=None):
        pass

    mkdir = makedirs

    def rmtree(self, path):
        for name in self._below(path):
            del self.bucket.objects[name]

    def remove(self, path):
        if self.bucket.objects.pop(_name(path), None) is None:
            raise FileNotFoundError(path)

    def rename(self, path, dst):
        if self.exists(dst):
            raise FileExistsError(dst)
        self.replace(path, dst)

    def replace(self, path, dst):
        for name in self._below(path):
            self._put(_name(dst) + name.removeprefix(_name(path)), self.bucket.objects.pop(name))

    def copy(self, path, dst, overwrite):
        self._put(_name(dst), self.bucket.objects[_name(path)])

    def stat(self, path):
        if not self.exists(path):
            raise FileNotFoundError(path)
        content = self.bucket.objects.get(_name(path), b"")
        return stat_utils.StatResult(self.isdir(path), len(content), 0, None, None, None)

    def _below(self, path):
        name = _name(path)
        return [one for one in self.bucket.objects if one == name or one.startswith(name + "/")]


def _name(path) -> str:
    return str(path).removeprefix(f"gs://{NAME}").strip("/")


@contextlib.contextmanager
def in_place_of_google(patch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """Inside, `gs://bucket/…` is a bucket on this machine, for Orbax and for epath.

    What it cannot show: Google's own clients (TensorFlow's file system, gcsfs, rights, retries).
    """
    from orbax.checkpoint._src.path import gcs_utils

    from zoo.storage import remote

    with Bucket().served() as bucket:
        for name, value in bucket.environment().items():
            patch.setenv(name, value)
        patch.setattr(gpath, "_PREFIX_TO_BACKEND", {"gs": ObjectStore(bucket)} | _OTHERS)
        patch.setattr(gpath, "_is_tf_installed", lambda: False)
        patch.setattr(gcs_utils, "get_bucket", lambda name: object())
        patch.setattr(remote, "is_installed", lambda: True)
        yield bucket


_OTHERS = {None: backend.os_backend}
