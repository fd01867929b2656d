"""StaticFiles: the console's scripts, styles and images, from memory.

A file's URL has a part of its hash, so a browser may keep it for ever. Files of other projects are
in `vendor`, with their versions, licences and hashes in its manifest.
"""

import gzip
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import PurePosixPath
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

PREFIX: Final = "/static/"
ROOT: Final = files("authz.console.pages") / "static"
HEADERS: Final = {
    "cache-control": "public, max-age=31536000, immutable",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
    "cross-origin-resource-policy": "same-origin",
    "vary": "accept-encoding",
    "x-content-type-options": "nosniff",
}
"""Of each file. An SVG that is opened as a page runs no script and may use its own styles."""

_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_DIGITS: Final = 12  # of a hash in a URL


@dataclass(frozen=True, slots=True)
class StaticFile:
    """One file. packed: its bytes, compressed with gzip. path: its URL without a host."""

    path: str
    content_type: str
    content: bytes = field(repr=False)
    packed: bytes = field(repr=False)


class StaticFiles:
    """All files by their names, such as `app.css`. Raises ValueError if a vendored file differs."""

    def __init__(self, root: Traversable = ROOT) -> None:
        check_vendored(root / "vendor")
        self._files = {
            each.name: _loaded(each)
            for folder in (root, root / "vendor")
            for each in folder.iterdir()
            if PurePosixPath(each.name).suffix in _TYPES
        }
        self._by_path = {file.path: file for file in self._files.values()}

    def url(self, name: str) -> str:
        """Return the URL of a file without a host. Raises KeyError if there is no such file."""
        return self._files[name].path

    def route(self) -> Route:
        """Return the route that serves all files, to anybody."""

        async def serve(request: Request) -> Response:
            file = self._by_path.get(request.url.path)
            if file is None:
                return Response("no such file\n", 404, media_type="text/plain")
            if "gzip" in request.headers.get("accept-encoding", ""):
                packed = HEADERS | {"content-encoding": "gzip"}
                return Response(file.packed, headers=packed, media_type=file.content_type)
            return Response(file.content, headers=HEADERS, media_type=file.content_type)

        return Route(f"{PREFIX}{{name}}", serve)


def manifest(vendor: Traversable) -> Mapping[str, Any]:
    """Return the manifest of the files of other projects."""
    text = (vendor / "manifest.json").read_text(encoding="utf-8")
    found: Mapping[str, Any] = json.loads(text)
    return found


def check_vendored(vendor: Traversable) -> None:
    """Raise ValueError unless the folder has exactly the files of its manifest, unchanged."""
    wanted = {
        name: digest
        for package in manifest(vendor)["packages"]
        for name, digest in package["files"].items()
    }
    found = {
        each.name: hashlib.sha256(each.read_bytes()).hexdigest()
        for each in vendor.iterdir()
        if each.name != "manifest.json"
    }
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            raise ValueError(f"{name}: differs from the manifest of vendored files")


def _loaded(source: Traversable) -> StaticFile:
    content, name = source.read_bytes(), PurePosixPath(source.name)
    digest = hashlib.sha256(content).hexdigest()[:_DIGITS]
    return StaticFile(
        f"{PREFIX}{name.stem}-{digest}{name.suffix}",
        _TYPES[name.suffix],
        content,
        gzip.compress(content, mtime=0),
    )
