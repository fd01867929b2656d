"""`make image-digests`: digests come from a registry, and no other ones are written."""

import hashlib
import json
import shutil
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import URLError
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.support.deploy.image_digests import DEPLOY, check, images, renew
from tests.support.deploy.registry import (
    INDEXES,
    MANIFESTS,
    Redirects,
    Reference,
    RegistryError,
    fetch_digest,
)

INDEX = json.dumps({"schemaVersion": 2, "mediaType": INDEXES[0], "manifests": []}).encode()
ONE = json.dumps({"schemaVersion": 2, "mediaType": MANIFESTS[1], "layers": []}).encode()
OLD = "sha256:" + "0" * 64


def digest_of(content: bytes) -> str:
    """Return the digest of a manifest."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class Registry(ThreadingHTTPServer):
    """A registry that wants a token. manifests: by name and tag; lie: the digest that it names.

    moved: the place that it redirects requests with a token to.
    """

    def __init__(
        self, manifests: dict[str, bytes], *, lie: str = "", status: int = 200, moved: str = ""
    ) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.manifests, self.lie, self.status, self.moved = manifests, lie, status, moved
        self.tokens = 0
        self.seen: list[str | None] = []  # the Authorization header of each request

    @property
    def host(self) -> str:
        """The address, as a part of an image."""
        return f"127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    """Answers as the specification says."""

    server: Registry

    def log_message(self, *_: object) -> None:
        """Write nothing."""

    def do_GET(self) -> None:
        """Give out a token, or a manifest to those who have one."""
        where = urlsplit(self.path)
        self.server.seen.append(self.headers.get("Authorization"))
        scope = "repository:" + "/".join(where.path.split("/")[2:-2]) + ":pull"
        if where.path == "/token":
            self.server.tokens += 1
            asked = parse_qs(where.query)
            self.answer(200, json.dumps({"token": f"for {asked['scope'][0]}".replace(" ", "-")}))
        elif self.server.status != 200:
            self.answer(self.server.status, "", ("Retry-After", "17"))
        elif self.headers.get("Authorization") != f"Bearer for-{scope}":
            realm = f'realm="http://{self.server.host}/token",service="test",scope="{scope}"'
            self.answer(401, "", ("WWW-Authenticate", f"Bearer {realm}"))
        elif self.server.moved:
            self.answer(307, "", ("Location", self.server.moved + where.path))
        else:
            name, tag = where.path.removeprefix("/v2/").split("/manifests/")
            content = self.server.manifests.get(f"{name}:{tag}")
            assert INDEXES[0] in self.headers["Accept"]
            if content is None:
                self.answer(404, "")
            else:
                told = self.server.lie or digest_of(content)
                self.answer(200, content.decode(), ("Docker-Content-Digest", told))

    def answer(self, status: int, body: str, *headers: tuple[str, str]) -> None:
        """Send a response."""
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())


@contextmanager
def serving(registry: Registry) -> Iterator[Registry]:
    """Run a registry."""
    thread = threading.Thread(target=registry.serve_forever, daemon=True)
    thread.start()
    try:
        yield registry
    finally:
        registry.shutdown()
        registry.server_close()
        thread.join()


@pytest.mark.parametrize("content", [INDEX, ONE])
def test_the_digest_is_that_of_the_received_bytes(content: bytes):
    """With a token for the name of the image, of an index or of a manifest."""
    with serving(Registry({"acme/tool:1.2": content})) as registry:
        image = Reference.parse(f"{registry.host}/acme/tool:1.2@{OLD}")
        assert fetch_digest(image) == digest_of(content)
        assert registry.tokens == 1


@pytest.mark.parametrize(
    ("wanted", "problem"),
    [
        ({"tag": "2"}, "no such image (404)"),
        ({"status": 429}, "too many requests (429); again in 17 s"),
        ({"status": 500}, "the registry answers 500"),
        ({"status": 403}, "not public"),
        ({"lie": OLD}, f"the registry names {OLD}"),
        ({"content": b"<html>"}, "no manifest of an image: no JSON"),
        ({"content": b"[]"}, "no manifest of an image"),
        ({"content": b'{"mediaType": "text/plain"}'}, "no manifest of an image: text/plain"),
    ],
)
def test_a_registry_that_does_not_know_the_digest(wanted: dict, problem: str):
    """One line says why; nothing else is taken for a digest."""
    manifests = {"acme/tool:1": wanted.get("content", INDEX)}
    given = Registry(manifests, lie=wanted.get("lie", ""), status=wanted.get("status", 200))
    with serving(given) as registry, pytest.raises(RegistryError) as found:
        fetch_digest(Reference.parse(f"{registry.host}/acme/tool:{wanted.get('tag', '1')}"))
    assert problem in str(found.value)
    assert "\n" not in str(found.value)


def test_a_redirect_takes_the_token_to_no_other_host():
    """Python itself would send the token of the first host to the second one."""
    with serving(Registry({})) as other:
        first = Registry({}, moved=f"http://{other.host}")
        with serving(first) as registry, pytest.raises(RegistryError, match="not public"):
            fetch_digest(Reference.parse(f"{registry.host}/acme/tool:1"))
        assert first.seen[-1] == "Bearer for-repository:acme/tool:pull"
        assert other.seen == [None]


def test_a_redirect_keeps_https():
    """A digest that came over http could be anybody's."""
    request = urllib.request.Request("https://ghcr.io/v2/a/manifests/1")
    with pytest.raises(URLError, match="without https"):
        Redirects().redirect_request(request, None, 307, "", {}, "http://ghcr.io/v2/a")


@pytest.mark.parametrize(
    "content", [b'{"mediaType": "a\\n\\u001b[2Jb"}', b"[" * 100_000, b'{"mediaType": ["\x1b"]}']
)
def test_a_hostile_answer_is_one_printable_line(content: bytes):
    """Text of a registry reaches a terminal without control characters."""
    with serving(Registry({"a/b:1": content}, lie="\x1b[2J" * 99)) as registry:
        given = Reference.parse(f"{registry.host}/a/b:1")
        with pytest.raises(RegistryError) as lied:
            fetch_digest(given)
        registry.lie = ""
        with pytest.raises(RegistryError) as found:
            fetch_digest(given)
    for text in (str(lied.value), str(found.value)):
        assert text.isascii()
        assert text.isprintable()
        assert len(text) < 500


def test_a_registry_that_nobody_runs():
    """The line names the image and the host."""
    with pytest.raises(RegistryError, match=r"^127\.0\.0\.1:1/a/b:1: 127\.0\.0\.1:1: .*refused"):
        fetch_digest(Reference.parse("127.0.0.1:1/a/b:1"))


@pytest.mark.parametrize(
    ("text", "host", "name"),
    [
        ("python:3.11-slim", "registry-1.docker.io", "library/python"),
        ("envoyproxy/envoy:v1.40.0", "registry-1.docker.io", "envoyproxy/envoy"),
        ("ghcr.io/a/b/c:1", "ghcr.io", "a/b/c"),
        ("localhost:5000/a:1", "localhost:5000", "a"),
    ],
)
def test_an_image_is_read_as_docker_reads_it(text: str, host: str, name: str):
    """A first part without a dot or a port is a part of the name."""
    image = Reference.parse(f"{text}@{OLD}")
    assert (image.host, image.name, image.text, image.digest) == (host, name, text, OLD)


@pytest.mark.parametrize(
    "text", ["a", "a/b", "a/b:", "a/b:1@sha256:12", "A/b:1", "a/b:1@md5:0", ""]
)
def test_something_else_is_no_image(text: str):
    """Without a tag, or with half a digest."""
    with pytest.raises(ValueError, match="not an image"):
        Reference.parse(text)


@pytest.fixture
def deploy(tmp_path: Path) -> Path:
    """A copy of deploy/."""
    return Path(shutil.copytree(DEPLOY, tmp_path / "deploy"))


def test_all_images_of_others_get_their_digest_and_keep_it(deploy: Path):
    """Manifests, chart values, compose.yaml and the Dockerfile name it; later ones replace it."""
    assert {"envoyproxy/envoy:v1.39.3", "python:3.11-slim-bookworm"} <= images(deploy).keys()
    changed = renew(deploy, lambda image: digest_of(image.text.encode()))
    names = {str(file.relative_to(deploy)) for file in changed}
    assert names >= {
        "Dockerfile",
        "compose.yaml",
        "helm/authz/values.yaml",
        "k8s/base/gateway.yaml",
    }
    assert check(deploy) == ([], [])
    assert images(deploy)["valkey/valkey:9"] == {digest_of(b"valkey/valkey:9")}
    base = f"ARG PYTHON=3.11-slim-bookworm@{digest_of(b'python:3.11-slim-bookworm')}\n"
    assert base in (deploy / "Dockerfile").read_text()

    assert renew(deploy, lambda image: image.digest or digest_of(image.text.encode())) == []
    assert renew(deploy, lambda _: OLD) == changed
    assert set.union(*images(deploy).values()) == {OLD}


def test_one_refusal_leaves_all_files_as_they_are(deploy: Path):
    """A digest that was not fetched is never written."""
    before = {file: file.read_bytes() for file in deploy.rglob("*") if file.is_file()}

    def fetch(image: Reference) -> str:
        if image.name == "valkey/valkey":
            raise RegistryError(f"{image.text}: no such image (404)")
        return OLD

    with pytest.raises(RegistryError, match=r"^valkey/valkey:9: no such image \(404\)$"):
        renew(deploy, fetch)
    assert before == {file: file.read_bytes() for file in deploy.rglob("*") if file.is_file()}


def test_the_check_names_images_without_a_digest_and_two_digests_of_one(deploy: Path):
    """`make check` lists the first and refuses the second."""
    renew(deploy, lambda _: OLD)
    values = deploy / "helm" / "authz" / "values.yaml"
    values.write_text(values.read_text().replace(f"valkey:9@{OLD}", f"valkey:9@{digest_of(b'')}"))
    compose = deploy / "compose.yaml"
    compose.write_text(compose.read_text().replace(f"prometheus:v3.5.0@{OLD}", "prometheus:v3.5.0"))
    missing, (mistake,) = check(deploy)
    assert missing == ["prom/prometheus:v3.5.0"]
    assert mistake.startswith("valkey/valkey:9 has different digests")


def test_the_shipped_files_agree():
    """No image has two digests in deploy/."""
    assert check(DEPLOY)[1] == []
