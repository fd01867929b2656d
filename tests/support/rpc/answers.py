"""CheckResponses as Envoy reads them."""

from envoy.service.auth.v3.external_auth_pb2 import CheckResponse
from google.protobuf.message import Message

from authz.core.decision import Decision
from authz.core.request import Request
from authz.rpc.check.respond import Responder
from tests.support.fakes import make_request

IDENTITY = (
    *("key-id", "client-id", "project-id", "tenant-id", "scopes", "env", "plan", "token-id"),
    "assertion",
    *("budget-remaining", "stale", "would-deny"),
)


def responder(**settings) -> Responder:
    """Return a responder with the default settings. It finds no key that could be removed."""
    usual = {"header_prefix": "x-auth-", "removed_headers": ("x-api-key",)}
    return Responder(**usual | {"find_keys": lambda _request: None} | settings)


def told(decision: Decision, request: Request | None = None, **settings) -> CheckResponse:
    """Return the answer as Envoy parses it."""
    return CheckResponse.FromString(
        responder(**settings).write(decision, request or make_request())
    )


def arm(answer: CheckResponse) -> Message:
    """Return the part of the answer beside its status."""
    return getattr(answer, answer.WhichOneof("http_response"))


def headers_of(part: Message) -> dict[str, str]:
    """Return headers by name. Raises AssertionError if one comes twice."""
    pairs = [(option.header.key, option.header.value) for option in part.headers]
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)
