"""Asks a registry for the digest of an image, by the OCI distribution specification 1.1.

Anonymous, as for public images: a token where the registry wants one, no password.
"""

import hashlib
import json
import re
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPException
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urlsplit

SECONDS: Final = 30.0
MOST_BYTES: Final = 4 * 1024 * 1024  # of a manifest, the least that a registry must take
INDEXES: Final = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MANIFESTS: Final = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
DOCKER_HUB: Final = "registry-1.docker.io"
_LOCAL: Final = re.compile(r"(localhost|127\.0\.0\.1)(:[0-9]+)?", re.ASCII)
_REFERENCE: Final = re.compile(
    r"(?:(?P<host>[a-zA-Z0-9.-]+(?::[0-9]+)?)/)?"
    r"(?P<name>[a-z0-9]+(?:[._/-]+[a-z0-9]+)*):(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127})"
    r"(?:@(?P<digest>sha256:[0-9a-f]{64}))?",
    re.ASCII,
)
_PARAMETER: Final = re.compile(r'([a-z]+)="([^"]*)"', re.ASCII)


class RegistryError(Exception):
    """The digest is not known: the registry refused, or answered something else. One line."""


@dataclass(frozen=True, slots=True)
class Reference:
    """An image as `docker pull` reads it. text: without its digest; digest: "" if there is none."""

    text: str
    host: str
    name: str
    tag: str
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> "Reference":
        """Raises ValueError for anything but [HOST/]NAME:TAG[@DIGEST]."""
        found = _REFERENCE.fullmatch(text)
        if found is None:
            raise ValueError(f"{text}: not an image of the form NAME:TAG or NAME:TAG@sha256:DIGEST")
        host, name = found["host"] or "", found["name"]
        if host and not re.search(r"[.:]|^localhost$", host):  # the first part of a name
            host, name = "", f"{host}/{name}"
        if name != name.lower():
            raise ValueError(f"{text}: not an image: a name has no capital letters")
        if not host:
            host, name = DOCKER_HUB, name if "/" in name else f"library/{name}"
        return cls(text.partition("@")[0], host, name, found["tag"], found["digest"] or "")


def fetch_digest(image: Reference) -> str:
    """Return the digest of an image: that of its index, which covers all platforms, if it has one.

    It is computed from the received bytes. Raises RegistryError.
    """
    scheme = "http" if _LOCAL.fullmatch(image.host) else "https"
    url = f"{scheme}://{image.host}/v2/{image.name}/manifests/{image.tag}"
    accept = {"Accept": ", ".join(INDEXES + MANIFESTS)}
    try:
        status, headers, body = _get(url, accept)
        if status == 401:
            token = _token(headers.get("WWW-Authenticate", ""), image)
            status, headers, body = _get(url, accept | {"Authorization": f"Bearer {token}"})
    except (OSError, URLError, ValueError, HTTPException, RecursionError) as cause:
        raise RegistryError(f"{image.text}: {image.host}: {_told(cause)}") from None
    if status != 200:
        raise RegistryError(f"{image.text}: {_refusal(status, headers)}")
    return _verified(image, headers, body)


def _verified(image: Reference, headers: Message, body: bytes) -> str:
    digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
    told = headers.get("Docker-Content-Digest", digest)
    if len(body) > MOST_BYTES:
        raise RegistryError(f"{image.text}: the manifest has more than {MOST_BYTES} bytes")
    if told != digest:
        problem = f"the registry names {_told(told)}, the manifest is {digest}"
        raise RegistryError(f"{image.text}: {problem}")
    try:
        kind = json.loads(body).get("mediaType") or headers.get_content_type()
    except (ValueError, AttributeError, RecursionError):
        kind = "no JSON"
    if kind not in INDEXES + MANIFESTS:
        raise RegistryError(f"{image.text}: no manifest of an image: {_told(kind)}")
    return digest


def _token(challenge: str, image: Reference) -> str:
    """Return an anonymous token, as a `WWW-Authenticate: Bearer` header asks for it."""
    scheme, _, rest = challenge.partition(" ")
    asked = dict(_PARAMETER.findall(rest))
    realm = urlsplit(asked.get("realm", ""))
    is_local = _LOCAL.fullmatch(image.host) and _LOCAL.fullmatch(realm.netloc)
    is_safe = realm.scheme == "https" or (realm.scheme == "http" and is_local)
    if scheme.lower() != "bearer" or not is_safe:
        raise RegistryError(f"{image.text}: {image.host} wants a login that is not supported")
    query = {"scope": asked.get("scope") or f"repository:{image.name}:pull"}
    query |= {"service": asked["service"]} if "service" in asked else {}
    joint = "&" if realm.query else "?"
    status, headers, body = _get(f"{realm.geturl()}{joint}{urlencode(query)}", {})
    if status != 200:
        raise RegistryError(f"{image.text}: no token: {_refusal(status, headers)}")
    answer = json.loads(body)
    token = (
        (answer.get("token") or answer.get("access_token")) if isinstance(answer, dict) else None
    )
    if not isinstance(token, str) or not re.fullmatch(r"[!-~]+", token):
        raise RegistryError(f"{image.text}: the answer of {realm.netloc} has no token")
    return token


def _refusal(status: int, headers: Message) -> str:
    match status:
        case 401 | 403:
            return f"not public, or no such image ({status})"
        case 404:
            return "no such image (404)"
        case 429:
            wait = headers.get("Retry-After", "")
            return "too many requests (429)" + (f"; again in {wait} s" if wait.isdigit() else "")
    return f"the registry answers {status}"


def _told(found: object) -> str:
    """Return what a registry sent as printable ASCII, cut to fit a line of a terminal."""
    return ascii(str(found))[1:-1][:200]


class Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, without the token to another host, and never from https to http."""

    def redirect_request(  # noqa: PLR0917  the signature of Python
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """Return the request to the other place. Raises URLError for one without https."""
        before, after = urlsplit(req.full_url), urlsplit(newurl)
        if before.scheme == "https" != after.scheme:
            raise URLError("it redirects to a place without https")
        found = super().redirect_request(req, fp, code, msg, headers, newurl)
        if found is not None and before.netloc != after.netloc:
            found.remove_header("Authorization")
        return found


_OPENER: Final = urllib.request.build_opener(Redirects)


def _get(url: str, headers: Mapping[str, str]) -> tuple[int, Message, bytes]:
    request = urllib.request.Request(url, headers=dict(headers))
    try:
        with _OPENER.open(request, timeout=SECONDS) as answer:
            return answer.status, answer.headers, answer.read(MOST_BYTES + 1)
    except HTTPError as refused:
        with refused:
            return refused.code, refused.headers, b""
