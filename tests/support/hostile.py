"""Hostile requests, made up by a seed: keys in every place and form but a good one."""

import asyncio
import random
from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from hpack import Decoder, Encoder
from hyperframe.frame import (
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    RstStreamFrame,
    SettingsFrame,
)

from authz.rpc.h2.frames import PREFACE
from tests.support.fakes import make_keyring

FOREIGN = "sk-proj-T3BlbkFJ0123456789abcdefGHIJ"  # as keys of another format look
IDENTITY = (
    "key-id",
    "client-id",
    "project-id",
    "tenant-id",
    "scopes",
    "env",
    "plan",
    "token-id",
    "assertion",
    "budget-remaining",
    "stale",
)
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


def trailers(chance: random.Random, canaries: Canaries) -> list[Header]:
    """Trailers of an HTTP/2 request with keys and identity; empty for most requests."""
    made: list[Header] = [("x-api-key", canaries.good), ("x-auth-client-id", "admin")]
    return chance.choice([made, made[:1], *[[]] * 6])


async def send_http2(
    url: str, requests: Sequence[bytes], trailers: Sequence[Sequence[Header]]
) -> list[bytes]:
    """Send each request as HTTP/2, over a connection of its own, with its trailers.

    Return the responses in the form of HTTP/1.1. A request that is reset or cut off has an empty
    one.
    """
    where = urlsplit(url)
    gate = asyncio.Semaphore(CONCURRENT)

    async def one(raw: bytes, last: Sequence[Header]) -> bytes:
        async with gate:
            reader, writer = await asyncio.open_connection(where.hostname, where.port)
            try:
                writer.write(_as_http2(raw, last))
                return await asyncio.wait_for(_response(reader), 30)
            except (ConnectionError, asyncio.IncompleteReadError):
                return b""
            finally:
                writer.close()

    return await asyncio.gather(*map(one, requests, trailers))


def _as_http2(raw: bytes, last: Sequence[Header]) -> bytes:
    """The frames of a connection with one request. Names are in lower case, as they must be."""
    head, _, body = raw.decode("utf-8", "surrogateescape").partition("\r\n\r\n")
    line, *rest = head.split("\r\n")
    method, target = line.rsplit(" ", 1)[0].split(" ", 1)
    fields = [tuple(each.split(": ", 1)) for each in rest if ": " in each]
    host = next(value for name, value in fields if name == "host")
    sent = [(":method", method), (":scheme", "http"), (":path", target), (":authority", host)]
    left_out = {("host", host), ("connection", "close")}
    sent += [(name.lower(), value) for name, value in fields if (name, value) not in left_out]
    encoder = Encoder()
    blocks = [
        encoder.encode([(_raw(name), _raw(value)) for name, value in each]) for each in (sent, last)
    ]
    ends = ["END_STREAM"] if not body and not last else []
    frames: list[Frame] = [
        SettingsFrame(0),
        HeadersFrame(1, blocks[0], flags=["END_HEADERS", *ends]),
    ]
    if body:
        frames.append(DataFrame(1, _raw(body), flags=[] if last else ["END_STREAM"]))
    if last:
        frames.append(HeadersFrame(1, blocks[1], flags=["END_HEADERS", "END_STREAM"]))
    return PREFACE + b"".join(frame.serialize() for frame in frames)


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


async def _response(reader: asyncio.StreamReader) -> bytes:
    """Read the response on stream 1 to its end."""
    decoder, head, body = Decoder(), "", b""
    while True:
        start = await reader.readexactly(9)
        frame, size = Frame.parse_frame_header(memoryview(start))
        frame.parse_body(memoryview(await reader.readexactly(size)))
        if isinstance(frame, GoAwayFrame | RstStreamFrame):
            return b""
        if frame.stream_id != 1:
            continue
        if isinstance(frame, HeadersFrame):
            fields = [(str(name), str(value)) for name, value in decoder.decode(frame.data)]
            named = dict(fields)
            head += f"HTTP/1.1 {named[':status']}\r\n" if ":status" in named else ""
            head += "".join(f"{n}: {v}\r\n" for n, v in fields if not n.startswith(":"))
        elif isinstance(frame, DataFrame):
            body += frame.data
        if "END_STREAM" in frame.flags:
            return f"{head}\r\n".encode("utf-8", "surrogateescape") + body
