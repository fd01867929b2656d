"""Requests through a gateway under test, each with the answer that it must get."""

import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from authz.core.finding import Level
from authz.proxy.document import parsed
from authz.proxy.rules import examine
from tests.mesh.rows import Row
from tests.mesh.site import HOST, ORIGIN, Answer, Site
from tests.support.proxy.report import DEFAULTS

SECONDS: Final = 30.0  # how long the wanted answer may take
BAD: Final = "ak_live_nonsense"


def awaited(name: str, wanted: str, look: Callable[[], object]) -> Row:
    """Look until the wanted text is seen, at most SECONDS. Return the last look."""
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            seen = str(look())
        except OSError as fault:
            seen = type(fault).__name__
        if seen == wanted or time.monotonic() > deadline:
            return Row(name, wanted, seen)
        time.sleep(0.2)


def identity(answer: Answer) -> str:
    """Return the status, the client that the backend is told, and whether the key reached it."""
    got = answer.arrived
    key = "with the key" if "x-api-key" in got else "without the key"
    return f"{answer} {got.get('x-auth-client-id', 'nobody')} {key}"


def requests(site: Site, log: Path) -> Iterator[Row]:
    """Yield the probes of single requests, which hold for each gateway."""
    good = site.key()

    def ask(*headers: tuple[str, str], **more: str) -> str:
        return str(site.ask(*headers, **more))

    yield awaited("a good key", "200 acme without the key", lambda: identity(site.ask(good)))
    yield awaited("a bad key", "401 invalid_api_key", lambda: ask(("x-api-key", BAD)))
    yield awaited("no key", "401 missing_api_key", ask)
    yield awaited("two keys", "401 ambiguous_api_key", lambda: ask(good, good))
    bearer = ("authorization", f"Bearer {site.keys['good']}")
    yield awaited("a key and a bearer key", "401 ambiguous_api_key", lambda: ask(good, bearer))
    spoofed = ("x-auth-client-id", "evil"), ("x-auth-made-up", "evil")
    wanted = "200 acme without the key, made-up: none"
    yield awaited("spoofed identity", wanted, lambda: _spoofed(site.ask(good, *spoofed)))
    underscores = ("x_auth_client_id", "evil")
    yield awaited("a spoofed header with underscores", "400", lambda: ask(good, underscores))
    failed_open = ("x-envoy-auth-failure-mode-allowed", "true")
    yield awaited(
        "a spoofed sign of an open failure",
        "none",
        lambda: _header(site, failed_open, name=failed_open[0]),
    )
    yield awaited("an escaped slash", "400", lambda: ask(good, path="/a%2f..%2fb"))
    yield from bindings(site)
    yield awaited("the access log", "acme, key id, reason, no query", lambda: _logged(site, log))
    yield awaited("the usage logger", "a record of the key", lambda: _used(site))


def cors(site: Site) -> Iterator[Row]:
    """Yield the probes of /cors, which has a CORS policy."""
    preflight = ("origin", ORIGIN), ("access-control-request-method", "GET")
    yield awaited(
        "a preflight without a key",
        f"200 {ORIGIN}",
        lambda: _cors(site.ask(*preflight, path="/cors", method="OPTIONS")),
    )
    yield awaited(
        "a refusal with CORS headers",
        f"401 {ORIGIN}",
        lambda: _cors(site.ask(("origin", ORIGIN), path="/cors")),
    )


def unasked(site: Site) -> Row:
    """Return whether /healthz, which is not asked about, keeps identity of clients out."""
    spoofed = ("x-auth-client-id", "evil")
    name = "a spoofed identity on a path that is not asked about"
    wanted = "200 nobody without the key"
    return awaited(name, wanted, lambda: identity(site.ask(spoofed, path="/healthz")))


def bindings(site: Site) -> Iterator[Row]:
    """Yield the probes of keys that are bound to a host, an origin or an address."""
    key = site.key("bound to the host")
    yield awaited("a host-bound key", "200", lambda: site.ask(key, ("host", HOST)))
    yield awaited(
        "the same at another host",
        "403 host_not_allowed",
        lambda: site.ask(key, ("host", "other.example.com")),
    )
    key = site.key("bound to the origin")
    yield awaited("an origin-bound key", "200", lambda: site.ask(key, ("origin", ORIGIN)))
    yield awaited(
        "the same from another origin",
        "403 origin_not_allowed",
        lambda: site.ask(key, ("origin", "https://evil.example.com")),
    )
    yield awaited("an address-bound key", "200", lambda: site.ask(site.key("bound to the address")))
    spoofs = ("x-forwarded-for", "203.0.113.9"), ("x-envoy-external-address", "203.0.113.9")
    yield awaited(
        "a spoofed address",
        "403 address_not_allowed",
        lambda: site.ask(site.key("bound to another address"), *spoofs),
    )


def faults(site: Site) -> Iterator[Row]:
    """Yield the probes of a frozen store and of a sidecar that hangs and comes back."""
    good = site.key()
    site.valkey.pause()
    try:
        yield awaited("store frozen: a cached key", "200", lambda: site.ask(good))
        yield awaited("store frozen: no key", "401 missing_api_key", site.ask)
    finally:
        site.valkey.resume()
    yield awaited("store back: a good key", "200", lambda: site.ask(good))
    site.sidecar.tell(signal.SIGSTOP)
    try:
        yield awaited("sidecar hung: a good key", "503", lambda: site.ask(good).status)
    finally:
        site.sidecar.tell(signal.SIGCONT)
    yield awaited("sidecar back: a good key", "200", lambda: site.ask(good))


def doctor(site: Site, *known: str) -> Row:
    """Return what the doctor says about the configuration of Envoy. known: checks that may warn."""
    found = examine(parsed(json.dumps(site.dump()).encode(), site.directory, "--envoy"), DEFAULTS)
    bad = {one.check: one.found for one in found if one.level is not Level.OK}
    said = [f"{check}: {told}" for check, told in bad.items() if check not in known]
    return Row(
        " ".join(["doctor --envoy, but for", *known]) if known else "doctor --envoy",
        "ok",
        "; ".join(said) or "ok",
    )


def _spoofed(answer: Answer) -> str:
    return f"{identity(answer)}, made-up: {answer.arrived.get('x-auth-made-up', 'none')}"


def _header(site: Site, *headers: tuple[str, str], name: str) -> str:
    answer = site.ask(site.key(), *headers)
    return answer.arrived.get(name, "none") if answer.status == 200 else str(answer)


def _cors(answer: Answer) -> str:
    return f"{answer.status} {answer.headers.get('access-control-allow-origin', 'no CORS header')}"


def _logged(site: Site, log: Path) -> str:
    """Return what the latest line about our request has."""
    site.ask(site.key(), path="/logged?secret=query")
    lines = [line for line in log.read_text().splitlines() if line.startswith("{")]
    ours = [one for one in map(json.loads, lines) if str(one.get("path")).startswith("/logged")]
    if not ours:
        return "no line"
    last = ours[-1]
    key = "key id" if last.get("key_id") == site.kids["good"] else "no key id"
    query = "query" if "query" in json.dumps(last) else "no query"
    return f"{last.get('client_id')}, {key}, {'reason' if 'reason' in last else '-'}, {query}"


def _used(site: Site) -> str:
    site.ask(site.key())
    found = [line for line in site.usage.lines if line.startswith("4 ")]
    return "a record of the key" if any(site.kids["good"] in one for one in found) else "none"
