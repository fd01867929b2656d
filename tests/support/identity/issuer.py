"""An OpenID Connect issuer on loopback: metadata, a key set, and tokens signed as a test wants."""

import json
import secrets
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jws
from joserfc.jwk import ECKey

from tests.support.fakes import NOW


class Issuer:
    """The issuer. keys: key id -> private key. down: every request gets 500. hits: requests.

    login: the claims of whoever is sent to /authorize; the consent is always given. redeem: what
    /token does with a form and an Authorization header; a test may replace it.
    """

    def __init__(self, url: str = "https://idp.example.com") -> None:
        self.url = url
        self.keys = {"k1": ECKey.generate_key("P-256", {"kid": "k1"})}
        self.down = False
        self.hits: list[str] = []
        self.metadata: dict[str, Any] = {}
        self.login: dict[str, Any] = {"sub": "alice", "groups": ["platform"]}
        self.codes: dict[str, dict[str, str]] = {}
        self.posts: list[tuple[dict[str, str], str]] = []

    def authorize(self, query: dict[str, str]) -> str:
        """Return the address to send the browser back to, with a code that remembers the query."""
        code = secrets.token_urlsafe(16)
        self.codes[code] = query
        response = {"code": code, "state": query["state"], "iss": self.url}
        return f"{query['redirect_uri']}?{urlencode(response)}"

    def redeem(self, form: dict[str, str], authorization: str) -> tuple[int, Any]:
        """Return status and JSON for a code, which works once and for its verifier (RFC 7636)."""
        self.posts.append((form, authorization))
        asked = self.codes.pop(form["code"], None)
        if asked is None or challenge_of(form["code_verifier"]) != asked["code_challenge"]:
            return 400, {"error": "invalid_grant"}
        if form["redirect_uri"] != asked["redirect_uri"]:
            return 400, {"error": "invalid_grant"}
        now = int(time.time())
        times = {"iat": now, "exp": now + 300}
        about = {"aud": asked["client_id"], "nonce": asked["nonce"]}
        token = self.token(**(times | about | self.login))
        return 200, {"id_token": token, "access_token": "unused", "token_type": "Bearer"}

    def rotate(self, key_id: str) -> None:
        """Replace all keys by a new one."""
        self.keys = {key_id: ECKey.generate_key("P-256", {"kid": key_id})}

    def key_set(self) -> bytes:
        """Return the public keys, as the issuer serves them."""
        public = [key.as_dict(private=False) | {"use": "sig"} for key in self.keys.values()]
        return json.dumps({"keys": public}).encode()

    def answer(self, path: str) -> tuple[int, bytes, str]:
        """Return status, body and Location of the answer to a GET."""
        if self.down:
            return 500, b"{}", ""
        if path.startswith("/authorize?"):
            return 302, b"", self.authorize(_flat(urlsplit(path).query))
        if path == "/moved":
            return 302, b"{}", f"{self.url}/keys"
        bodies = {
            "/.well-known/openid-configuration": json.dumps(metadata_of(self)).encode(),
            "/keys": self.key_set(),
            "/large": b" " * (1 << 20),
        }
        return 200, bodies.get(path, b"{}"), ""

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
            self._answer(*issuer.answer(self.path))

        def do_POST(self) -> None:
            issuer.hits.append(self.path)
            form = _flat(self.rfile.read(int(self.headers["Content-Length"])).decode())
            status, found = issuer.redeem(form, self.headers.get("Authorization", ""))
            self._answer(500 if issuer.down else status, json.dumps(found).encode(), "")

        def _answer(self, status: int, body: bytes, location: str) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Location", location)
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


def metadata_of(issuer: Issuer) -> dict[str, Any]:
    """Return the metadata that an issuer serves; `issuer.metadata` replaces members."""
    places = {"jwks_uri": "keys", "authorization_endpoint": "authorize", "token_endpoint": "token"}
    own = {name: f"{issuer.url}/{path}" for name, path in places.items()}
    return {"issuer": issuer.url} | own | issuer.metadata


def challenge_of(verifier: str) -> str:
    """Return the S256 challenge of a verifier."""
    return urlsafe_b64encode(sha256(verifier.encode()).digest()).decode().rstrip("=")


def _flat(query: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(query, keep_blank_values=True).items()}
