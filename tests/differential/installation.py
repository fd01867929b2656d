"""Rules, the handlers that they protect, and the gate that applies them."""

import asyncio
from dataclasses import dataclass
from typing import Any

from authz.cli.verify import _AUTHORITY, _PATH
from authz.core.decision import Deny
from authz.core.methods import NAMED_METHOD
from authz.core.request import Request, Route
from authz.flows.check import Checker
from authz.process.clock import SystemClock
from authz.rpc.check.build_request import check_request
from authz.rpc.check.extract import Extractor
from authz.rpc.check.handler import CheckHandler
from authz.rpc.check.override import METHOD_OVERRIDES
from authz.rpc.check.respond import Responder
from authz.settings import model
from authz.wiring.extraction import extractor
from tests.support.caches import filled
from tests.support.fakes import RecordingProbe, issue_record
from tests.support.rpc.door import OurPeppers
from tests.support.rpc.reading import RING

HOST = "api.example.com"
ROUTES: list[dict[str, Any]] = [
    {"path": "/public/{name}", "methods": ["GET"], "auth": "optional", "cost": 0},
    {"path": "/v1/models/{model}:public", "methods": ["GET"], "auth": "optional", "cost": 0},
    {
        "path": "/v1/models/{model}:generate",
        "methods": ["POST"],
        "scopes": "models:{model}:generate",
        "cost": 5,
    },
    {"path": "/v1/models/{model}", "methods": ["GET"], "scopes": "read"},
    {"path": "/v1/models/{model}", "methods": ["DELETE"], "scopes": "delete", "cost": 7},
    {"path": "/admin/**", "scopes": "admin", "env": "live"},
    {"path": "/files/**", "methods": ["GET"], "scopes": "files"},
    {"path": "/reports/{year}-{month}", "methods": ["GET"], "scopes": "reports", "cost": 3},
    {"path": "/tenant/{name}", "host": HOST, "scopes": "tenant"},
    {"path": "/caf%C3%A9/{id}", "methods": ["GET"], "scopes": "cafe"},
    {"path": "/plain%20text", "methods": ["GET"], "scopes": "plain", "env": "live"},
]


@dataclass(frozen=True)
class Needs:
    """A request must have been decided by this for a handler to run."""

    scope: str = ""  # before the text of a variable, if it has one
    cost: int = 1
    env: str | None = None
    optional: bool = False


HANDLERS = {
    "public": Needs(cost=0, optional=True),
    "public_model": Needs(cost=0, optional=True),
    "generate": Needs("models:", cost=5),
    "model": Needs("read"),
    "delete": Needs("delete", cost=7),
    "admin": Needs("admin", env="live"),
    "files": Needs("files"),
    "reports": Needs("reports", cost=3),
    "tenant": Needs("tenant"),
    "cafe": Needs("cafe"),
    "plain": Needs("plain", env="live"),
}


def misses(handler: str, value: str, route: Route) -> str:
    """Say what a route lacked of what its handler needs; empty if nothing.

    value: the text of the variable, as the handler read it.
    """
    needs = HANDLERS[handler]
    if route.optional and not needs.optional:
        return "a key"
    scopes = {scope for scope in route.scopes if scope.startswith(needs.scope)}
    if needs.scope and not scopes:
        return f"the scope {needs.scope}"
    if needs.scope == "models:" and not scopes & {f"models:{value}:generate", "models:?:generate"}:
        return f"the scope of model {value!r}"
    if route.cost < needs.cost:
        return f"the cost {needs.cost}"
    if needs.env and route.env != needs.env:
        return f"the environment {needs.env}"
    return ""


class RecordingReader:
    """Reads CheckRequests with the rules, and remembers what it made of each.

    `disagreements`: requests that `authz keys verify` would read in another way.
    """

    def __init__(self) -> None:
        self.seen: dict[str, Request] = {}
        self.disagreements: list[str] = []
        self._readers = {case: _extractor(case) for case in ("sensitive", "insensitive")}

    def read(self, raw: bytes) -> Request:
        """Implement Extractor.read."""
        request = self._readers["sensitive"].read(raw)
        reader = self._readers["sensitive"]
        if request.header("x-backend", "") == "express":  # to which /Admin is /admin
            reader = self._readers["insensitive"]
            request = reader.read(raw)
        self.seen[request.header("x-fuzz-id", "")] = request
        self._compare(reader, request)
        return request

    def _compare(self, reader: Extractor, request: Request) -> None:
        """Read the request as `authz keys verify` would write it."""
        if any(request.header(name, "") for name in METHOD_OVERRIDES):
            return
        asked = {name: request.header(f":{name}", "") for name in ("method", "authority", "path")}
        taken = NAMED_METHOD.fullmatch(asked["method"]) and _AUTHORITY.fullmatch(asked["authority"])
        if not (taken and _PATH.fullmatch(asked["path"])):
            return
        written = check_request(
            method=asked["method"],
            host=asked["authority"],
            path=asked["path"],
            peer="",
            headers={"x-api-key": request.header("x-api-key", "")},
            extensions={},
        )
        verified = reader.read(written)
        if _decided(verified) != _decided(request):
            self.disagreements.append(f"{asked}: {_decided(request)}, {_decided(verified)}")


def _decided(request: Request) -> object:
    found = request.credential
    return found if isinstance(found, Deny) else request.route


def _extractor(case: str) -> Extractor:
    settings = model.load(None, {"routes": ROUTES, "routes_case": case}, {})
    return extractor(settings, RING)


def make_handler(reader: RecordingReader) -> tuple[CheckHandler, str]:
    """A gate with one key in its cache that opens everything, and the key."""
    clock, probe = SystemClock(), RecordingProbe()
    record, key = issue_record(RING, created_at=clock.wall_ms(), scopes=frozenset({"*"}))
    cache = asyncio.run(filled([record], clock, probe))
    checker = Checker(cache, OurPeppers(), clock, probe)
    responder = Responder(
        header_prefix="x-auth-", removed_headers=("x-api-key",), find_keys=lambda _request: None
    )
    handler = CheckHandler(_extractor("sensitive"), checker, responder, probe)
    handler._read = reader.read
    return handler, key
