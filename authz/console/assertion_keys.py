"""The key set of assertions, for backends that verify them."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Final

from starlette.routing import Route

from authz.console.http_api import HttpApi
from authz.console.token_endpoint import CACHED, json_answer, not_allowed
from authz.core.http_exchange import HttpRequest, HttpResponse

ASSERTION_KEYS: Final = "/.well-known/assertion-jwks.json"


def assertion_key_route(keys: Sequence[Mapping[str, str]]) -> Route:
    """Return the route of the key set (RFC 7517). keys: as JSON Web Keys."""

    async def key_set(request: HttpRequest) -> HttpResponse:
        if request.method not in {"GET", "HEAD"}:
            return not_allowed("GET, HEAD")
        return json_answer(HTTPStatus.OK, {"keys": keys}, CACHED)

    return Route(ASSERTION_KEYS, HttpApi(key_set, 0))
