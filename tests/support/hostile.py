"""Hostile HTTP/1.1 requests, made up by a seed: keys in every place and form but a good one."""

import asyncio
import random
from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from tests.support.fakes import make_keyring

FOREIGN = "sk-proj-T3BlbkFJ0123456789abcdefGHIJ"  # as keys of another format look
IDENTITY = ("key-id", "client-id", "project-id", "tenant-id", "scopes", "env", "plan", "stale")
CONCURRENT = 16
METHODS = [*["GET", "POST", "HEAD", "DELETE", "PUT", "PATCH"] * 3, "get", "PoST", "QUERY"]
PATHS = [
    *["/v1/models", "/scoped", "/v1/files/7"] * 8,
    *("/", "/v1/models", "/scoped", "/scoped/", "/SCOPED", "//scoped", "/v1/../scoped", "*"),
    *("/%73coped", "/healthz/", "/healthz/../v1", "/healthz;x", "/healthz/..%2fv1", "/v1%00"),
    *("/healthz/..;/v1", f"/{'a' * 2000}", "/v1//models", "/v1/./models", "/v1\\models"),
    "/healthz%2f..%2fv1",
]


@dataclass(frozen=True)
class Canaries:
    """Keys whose secrets must come out nowhere. good: of the installation, and valid."""

    good: str
    forged: str
    foreign: str = FOREIGN

    @classmethod
    def beside(cls, good: str) -> "Canaries":
        """The good key, and others."""
        return cls(good, make_keyring().mint("live").text)

    def secrets(self) -> list[str]:
        """Texts of which nothing may be seen: what stands behind the kid."""
        return [self.good.split("_", 3)[3], self.forged.split("_", 3)[3], self.foreign]

    def leaks(self, text: str) -> list[str]:
        """The secrets that a text shows, whole or in part, plain or encoded."""
        found = []
        for secret in self.secrets():
            parts = (secret, secret[:24], secret.lower(), quote(secret), secret[-24:])
            found += [part for part in parts if part in text]
        for key in (self.good, self.forged):
            found += [part for part in (b64encode(key.encode()).decode()[:60],) if part in text]
        return found


def spoiled(key: str) -> Iterator[str]:
    """Forms of a good key that are none."""
    at = len(key) // 2
    other = "x" if key[at] != "x" else "y"
    yield from (key + "x", key[:-1], "x" + key, key.swapcase(), key[:at] + other + key[at + 1 :])
    yield from (f'"{key}"', f"'{key}'", f"<{key}>", f"{key},{key}", f"{key} {key}", f"{key};a=b")
    yield from (f"{key}%00", quote(key).replace("_", "%5F"), f"%{ord(key[0]):02x}{key[1:]}")
    yield from (f"Bearer {key}", f"key={key}", b64encode(key.encode()).decode(), f"{key}\t{key}")
    yield from (f"{key}\u00e9", key.replace("_", "-"), f"\u200b{key}", key.replace("_", "\uff3f"))


def in_authorization(key: str) -> Iterator[str]:
    """Values of Authorization with a good key in a form that is not read."""
    basic = b64encode(f"{key}:".encode()).decode()
    yield from (key, f"Token {key}", f'Bearer "{key}"', f"Basic {basic}", f"ApiKey {key}")
    yield from (f"Bearer {key}, Bearer {key}", f"Bearer {key},Bearer x", f"bearer {key}x")
    yield from (
        f"Basic {b64encode(f'x:{key}'.encode()).decode()}",
        f"Bearer{key}",
        f"Bearer\t{key}",
    )
    yield from (
        f"Digest username={key}",
        f"Bearer {quote(key).replace('_', '%5f')}",
        f"Bearer ,{key}",
    )


Header = tuple[str, str]


def carriers(chance: random.Random, canaries: Canaries) -> list[Header]:
    """Headers where keys are looked for; together they are never one good key."""
    good, forged, foreign = canaries.good, canaries.forged, canaries.foreign
    bad = [*spoiled(good), forged, foreign, "", "ak_live_", "ak_", "," * 50, "a" * 5000]
    other = [*in_authorization(good), f"Bearer {forged}", f"Bearer {foreign}", "Bearer", "Basic !"]
    kinds: list[list[Header]] = [
        [("x-api-key", chance.choice(bad))],
        [("authorization", chance.choice(other))],
        [("x-api-key", good), ("x-api-key", good)],
        [("x-api-key", good), ("authorization", f"Bearer {good}")],
        [("x-api-key", good), ("authorization", chance.choice([*in_authorization(good)]))],
        [("authorization", f"Bearer {good}"), ("authorization", f"Bearer {good}")],
        [("x-api-key", chance.choice(bad) or "x"), ("authorization", f"Bearer {good}")],
        [("x_api_key", good)],
        [("proxy-authorization", f"Bearer {good}")],
        [("connection", "x-api-key"), ("x-api-key", good)],
        [],
    ]
    return chance.choice(kinds)


def surroundings(chance: random.Random, canaries: Canaries) -> list[Header]:
    """Other headers of a client: forged identities, ids, traces, keys where nobody looks."""
    key = chance.choice([canaries.good, canaries.forged, canaries.foreign])
    name = chance.choice(IDENTITY)
    made: list[Header] = [
        (f"x-auth-{name}", "admin"),
        (f"X-Auth-{name.title()}", key),
        (f"x_auth_{name.replace('-', '_')}", "admin"),
        ("x-auth-would-deny", "no"),
        ("cookie", f"session={key}"),
        ("user-agent", key),
        ("referer", f"https://a.com/?api_key={key}"),
        ("origin", key),
        ("x-request-id", key),
        ("traceparent", chance.choice([key, f"00-{'1' * 32}-{'2' * 16}-01", "00-" + "0" * 52])),
        ("content-type", chance.choice(["application/grpc", key, "application/json"])),
        ("x-forwarded-for", f"10.0.0.1, {key}"),
        ("x-envoy-external-address", "10.0.0.1"),
        ("x-envoy-original-path", "/healthz"),
        ("x-http-method-override", "OPTIONS"),
        ("x-envoy-auth-failure-mode-allowed", "true"),
        ("te", "trailers"),
        (key.lower()[:60].replace("_", "-"), "x"),
    ]
    return chance.sample(made, chance.randint(0, 4))


def target(chance: random.Random, canaries: Canaries) -> str:
    """A path and a query."""
    key = quote(chance.choice([canaries.good, canaries.forged, canaries.foreign]))
    path = chance.choice(PATHS)
    queries = ["", "?", "?a=1", f"?api_key={key}x", f"?key={key}&api_key={key}", f"?{key}"]
    return path + chance.choice([*queries, f"?%61pi_key={key}", f"?a=1&api%5Fkey={key}"])


def request(chance: random.Random, canaries: Canaries, places: Sequence[str]) -> bytes:
    """One request, as bytes. places: which parts hold hostile text beside the carriers."""
    method = chance.choice(METHODS)
    path = target(chance, canaries) if "target" in places else "/v1/models"
    hosts = ["api.example.com"] * 30 + ["a,b", "api.example.com:", "a:abc", "x@y", "[::1]"]
    host = chance.choice(hosts) if "target" in places else hosts[0]
    headers: list[Header] = [("host", host), *carriers(chance, canaries)]
    if "surroundings" in places:
        headers += surroundings(chance, canaries)
        chance.shuffle(headers)
    body = b""
    if method in {"POST", "PUT"}:
        body = f'{{"key": "{canaries.good}"}}'.encode()
        headers.append(("content-length", str(len(body))))
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "connection: close", "", ""]).encode() + body


async def send(url: str, requests: Sequence[bytes]) -> list[bytes]:
    """Send each request over a connection of its own. Return the responses, empty if cut off."""
    where = urlsplit(url)
    gate = asyncio.Semaphore(CONCURRENT)

    async def one(raw: bytes) -> bytes:
        async with gate:
            reader, writer = await asyncio.open_connection(where.hostname, where.port)
            try:
                writer.write(raw)
                return await asyncio.wait_for(reader.read(), 30)
            except ConnectionError:
                return b""
            finally:
                writer.close()

    return await asyncio.gather(*map(one, requests))
