"""Doubles of the servers that take new secrets, over real sockets.

Each behaves as its documentation says, as far as a delivery needs it:
https://kubernetes.io/docs/reference/using-api/server-side-apply and
https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2.
"""

import base64
import http.server
import json
import re
import threading
from contextlib import contextmanager
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "a-token"


class _Handler(http.server.BaseHTTPRequestHandler):
    """Hands a request to the double and sends its answer."""

    def do_POST(self):
        """Answer one request."""
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.double.requests.append((self.command, self.path, body))
        status, document = self.server.double.forced or self.server.double.answer(
            self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body
        )
        text = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(text)))
        if status in range(300, 400):
            self.send_header("location", "http://127.0.0.1:1/")
        self.end_headers()
        self.wfile.write(text)

    do_PATCH = do_PUT = do_POST  # noqa: N815  the names of the base class

    def log_message(self, *_):
        """Stay silent."""


class _Double:
    """A server. forced: an answer in place of the right one."""

    def __init__(self):
        self.requests = []
        self.forced = None
        self.url = ""

    @contextmanager
    def serving(self):
        """Serve on loopback until the block ends."""
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
            server.double = self
            self.url = f"http://127.0.0.1:{server.server_port}"
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            try:
                yield self
            finally:
                server.shutdown()
                thread.join()


class Kubernetes(_Double):
    """An API server with Secrets and server-side apply. data: entries by namespace and name."""

    def __init__(self):
        super().__init__()
        self.data = {}
        self._owned = {}

    def answer(self, method, path, headers, body):
        """Return status and document of a request."""
        parts = urlsplit(path)
        query = parse_qs(parts.query)
        match = re.fullmatch(r"/api/v1/namespaces/([a-z0-9-]+)/secrets/([a-z0-9.-]+)", parts.path)
        if headers.get("authorization") != f"Bearer {TOKEN}":
            return 401, {"kind": "Status", "reason": "Unauthorized"}
        if match is None:
            return 404, {"kind": "Status", "reason": "NotFound"}
        if method != "PATCH" or headers["content-type"] != "application/apply-patch+yaml":
            return 415, {"kind": "Status", "reason": "UnsupportedMediaType"}
        applied = json.loads(body)
        if (applied["apiVersion"], applied["kind"]) != ("v1", "Secret"):
            return 400, {"kind": "Status", "reason": "BadRequest"}
        if applied["metadata"]["name"] != match[2] or "fieldManager" not in query:
            return 400, {"kind": "Status", "reason": "BadRequest"}
        [manager] = query["fieldManager"]
        stored = self.data.setdefault(match.groups(), {})
        owned = self._owned.setdefault((*match.groups(), manager), set())
        for left_out in owned - applied["data"].keys():
            stored.pop(left_out, None)
        owned.clear()
        owned.update(applied["data"])
        for name, text in applied["data"].items():
            stored[name] = base64.b64decode(text, validate=True).decode()
        return 200, applied

    def secret(self, namespace, name):
        """Return the entries of a Secret."""
        return self.data.get((namespace, name), {})


class Vault(_Double):
    """A key-value store of version 2, mounted at `secret`. versions: by path, all of them."""

    def __init__(self):
        super().__init__()
        self.versions = {}

    def answer(self, method, path, headers, body):
        """Return status and document of a request."""
        if headers.get("x-vault-token") != TOKEN:
            return 403, {"errors": ["permission denied"]}
        if method not in {"POST", "PUT"} or not path.startswith("/v1/secret/data/"):
            return 404, {"errors": []}
        stored = self.versions.setdefault(unquote(path.removeprefix("/v1/secret/data/")), [])
        stored.append(json.loads(body)["data"])
        return 200, {"data": {"version": len(stored)}}

    def newest(self, path):
        """Return the entries of the newest version."""
        return self.versions[path][-1]


class Hook(_Double):
    """A receiver of webhooks. accepted: headers and bodies."""

    def __init__(self):
        super().__init__()
        self.accepted = []

    def answer(self, method, path, headers, body):
        """Return status and document of a request."""
        self.accepted.append((headers, body))
        return 200, {"method": method, "path": path}
