"""Requests that may be read in several ways: good ones, and spellings that come near them."""

from dataclasses import dataclass, field
from random import Random

from tests.differential.installation import HOST


@dataclass
class Sent:
    """One request, as a client writes it."""

    method: str
    path: bytes
    host: bytes
    headers: list[tuple[str, bytes]] = field(default_factory=list)
    is_http2: bool = True


GOOD = [
    ("GET", "/public/x"),
    ("GET", "/v1/models/gemini:public"),
    ("POST", "/v1/models/gemini-pro:generate"),
    ("POST", "/v1/models/a:b:generate"),
    ("GET", "/v1/models/gemini-pro"),
    ("DELETE", "/v1/models/gemini-pro"),
    ("POST", "/admin"),
    ("GET", "/admin/keys/1"),
    ("GET", "/files"),
    ("GET", "/files/a/b.txt"),
    ("GET", "/reports/2026-11"),
    ("GET", "/tenant/acme"),
    ("PUT", "/tenant/acme"),
    ("GET", "/caf%C3%A9/7"),
    ("GET", "/plain%20text"),
]
METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE", "FOO"]
TOKENS = [
    *("/", "//", "/./", "/../", "/x/../", "\\", "%2f", "%2F", "%5c", "%252f", "%25%32%66"),
    *(";", ";a=b", "%3b", ".", "..", "%2e", "%2e%2e", "%252e", "/.;/", "/..;/", "%u002e"),
    *("?", "%3f", "#", "%23", "&", "%26", "=", "%", "%zz", "%0", "%25", "%2525"),
    *(" ", "%20", "+", "%2b", "\t", "%09", "%0a", "%0d%0a", "%00", "\0", "\x7f", "%7f"),
    *("\u00e9", "%e9", "%c3%a9", "e%cc%81", "%c0%af", "%c0%ae", "%ef%bc%8f", "%ff", "%80"),
    *("%e2%84%aa", "%c5%bf", "%c4%b1", "\u212a", "\uff0f", "%e2%80%8b", "%ef%bb%bf"),
    *(":", "%3a", "%3A", "%253a", "-", "%2d", "@", "%40", "~", "%7e", "*", "%2a", "{x}", "|"),
    *(":public", "%3apublic", ":generate", "%3Agenerate", "'", '"', "<", "^", "`", "!", "%21"),
]
BEGINNINGS = [
    *("/.", "//", "/;", "/public/..", "/public/x/../..", "/%2e%2e", "/x/..", "/%2f", "\\"),
    *("http://api.example.com", "https://evil.example:80", "//api.example.com", "*", "", "?", "#"),
]
ENDINGS = [
    *("/", "//", ".", "/.", "/..", "%20", "%00", ".json", "/index.html", ";x", "%3bx", "%0a", "+"),
    *(":public", "%3Apublic", ":generate", "%3agenerate", "?", "?a=/../", "%3f", "#", "#/x", "\\"),
]
HOSTS = [
    *(f"{HOST}:80", f"{HOST}:", f"{HOST}:abc", f"{HOST}:08", f"{HOST}:65536", f"{HOST}:+80"),
    *(f"{HOST}:80:80", f"{HOST}:8 0", HOST.upper(), "Api.Example.com", f"{HOST}.", f"{HOST}.."),
    *(f"user@{HOST}", f"user:secret@{HOST}", f"{HOST}@evil.example", f"evil.example@{HOST}"),
    *(HOST.replace(".", "%2e"), f"{HOST}%00", f"{HOST}/", f"{HOST}?", f"{HOST}#", f"{HOST}\\"),
    *(f"{HOST},evil.example", f"evil.example,{HOST}", f" {HOST}", f"{HOST} ", f"\t{HOST}"),
    *("evil.example", "localhost", "[::1]", "[::1]:80", "127.0.0.1:80", "", ".", ":", ":80"),
    *(
        HOST.replace(".", "\u3002"),
        f"{HOST}\u00a0",
        f"{HOST};x",
        f"{HOST}|",
        "api.example.com:\uff18",
    ),
]
OVERRIDES = ["x-http-method-override", "x-http-method", "x-method-override"]
OTHER_HOSTS = ["x-forwarded-host", "x-host", "forwarded", "host", "x-original-url", "x-rewrite-url"]


def request(rng: Random) -> Sent:
    """Make up one request. The same generator makes the same requests."""
    method, path = rng.choice(GOOD)
    for _ in range(rng.choice([0, 1, 1, 1, 1, 2, 2, 4])):
        path = rng.choice(_CHANGES)(rng, path)
    if rng.random() < 0.3:
        method = _method(rng, method)
    host = rng.choice(HOSTS) if rng.random() < 0.2 else HOST
    sent = Sent(method, path.encode(), host.encode(), is_http2=rng.random() < 0.7)
    if rng.random() < 0.05:
        sent.headers.append((rng.choice(OVERRIDES), rng.choice(METHODS).encode()))
    if rng.random() < 0.08:
        value = HOST if rng.random() < 0.7 else rng.choice(GOOD)[1]
        sent.headers.append((rng.choice(OTHER_HOSTS), value.encode()))
    return sent


def _method(rng: Random, method: str) -> str:
    other = rng.choice(METHODS)
    changed = "".join(rng.choice([c.lower(), c]) for c in method)
    return rng.choice([other, other, method.lower(), method.title(), changed, method + " ", "HEAD"])


def _encode(rng: Random, path: str) -> str:
    """Encode one character, of those that separate first."""
    special = [at for at, character in enumerate(path) if character in ":-.@~" and at]
    at = rng.choice(special) if special and rng.random() < 0.5 else rng.randrange(len(path) or 1)
    text = "".join(f"%{byte:02{rng.choice('xX')}}" for byte in path[at : at + 1].encode())
    return path[:at] + text + path[at + 1 :]


def _encode_twice(rng: Random, path: str) -> str:
    at = rng.randrange(len(path) or 1)
    text = "".join(f"%25{byte:02x}" for byte in path[at : at + 1].encode())
    return path[:at] + text + path[at + 1 :]


def _fold(rng: Random, path: str) -> str:
    at = rng.randrange(len(path) or 1)
    return path[:at] + path[at : at + 1].swapcase() + path[at + 1 :]


def _insert(rng: Random, path: str) -> str:
    at = rng.randrange(len(path) + 1)
    return path[:at] + rng.choice(TOKENS) + path[at:]


def _delete(rng: Random, path: str) -> str:
    at = rng.randrange(len(path) or 1)
    return path[:at] + path[at + 1 :]


def _begin(rng: Random, path: str) -> str:
    return rng.choice(BEGINNINGS) + path


def _end(rng: Random, path: str) -> str:
    return path + rng.choice(ENDINGS)


def _splice(rng: Random, path: str) -> str:
    """Go on as another path does."""
    other = rng.choice(GOOD)[1]
    return path[: rng.randrange(len(path) + 1)] + other[rng.randrange(len(other)) :]


_CHANGES = [
    *(_encode, _encode, _encode, _encode_twice, _fold, _insert, _insert, _insert, _delete),
    *(_begin, _end, _end, _splice),
]
