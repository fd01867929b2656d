"""An OpenID Connect issuer on loopback: metadata, a key set, and tokens signed as a test wants."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from joserfc import jws
from joserfc.jwk import ECKey

from tests.support.fakes import NOW


class Issuer:
    """The issuer. keys: key id -> private key. down: every request gets 500. hits: requests."""

    def __init__(self, url: str = "https://idp.example.com") -> None:
        self.url = url
        self.keys = {"k1": ECKey.generate_key("P-256", {"kid": "k1"})}
        self.down = False
        self.hits: list[str] = []
        self.metadata: dict[str, Any] = {}

    def rotate(self, key_id: str) -> None:
        """Replace all keys by a new one."""
        self.keys = {key_id: ECKey.generate_key("P-256", {"kid": key_id})}

    def key_set(self) -> bytes:
        """Return the public keys, as the issuer serves them."""
        public = [key.as_dict(private=False) | {"use": "sig"} for key in self.keys.values()]
        return json.dumps({"keys": public}).encode()

    async def fetch(self) -> bytes:
        """Return the key set, without a network."""
        self.hits.append("keys")
        if self.down:
            from authz.core.errors import Unavailable

            raise Unavailable("the issuer is down")
        return self.key_set()

    def claims(self, **more: Any) -> dict[str, Any]:
        """Return good claims of a token that is valid for five minutes from NOW."""
        now = NOW // 1000
        return {
            "iss": self.url,
            "aud": "authz",
            "sub": "alice",
            "iat": now,
            "exp": now + 300,
            "groups": ["acme-team"],
        } | more

    def token(self, header: dict[str, Any] | None = None, key_id: str = "k1", **claims: Any) -> str:
        """Return a token signed with one of the keys. header: replaces members of the header."""
        return self.sign(json.dumps(self.claims(**claims)).encode(), header, key_id)

    def sign(self, payload: bytes, header: dict[str, Any] | None = None, key_id: str = "k1") -> str:
        """Return a token with this payload, whatever it is."""
        protected = {"alg": "ES256", "kid": key_id} | (header or {})
        return jws.serialize_compact(protected, payload, self.keys[key_id], algorithms=["ES256"])


@contextmanager
def serving(issuer: Issuer) -> Iterator[Issuer]:
    """Serve an issuer over HTTP on a free port of loopback, and set its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            issuer.hits.append(self.path)
            body, status = b"{}", 200
            if issuer.down:
                status = 500
            elif self.path == "/.well-known/openid-configuration":
                found = {"issuer": issuer.url, "jwks_uri": f"{issuer.url}/keys"} | issuer.metadata
                body = json.dumps(found).encode()
            elif self.path == "/keys":
                body = issuer.key_set()
            elif self.path == "/large":
                body = b" " * (1 << 20)
            elif self.path == "/moved":
                status = 302
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Location", f"{issuer.url}/keys")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            """Write no lines."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    issuer.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
