"""RestApi: answers HTTP requests with the methods of the admin API."""

import json
from collections.abc import AsyncIterator, Mapping
from http import HTTPStatus
from typing import Any, Final

from google.protobuf import json_format
from google.protobuf.message import Message

from authz.core.access import Credentials
from authz.core.http_exchange import HttpRequest, HttpResponse
from authz.rpc.admin.api_error import ApiError
from authz.rpc.admin.calls import Arrival, Calls, call_id_of
from authz.rpc.admin.rest.json_request import read_message
from authz.rpc.admin.rest.openapi import openapi
from authz.rpc.admin.rest.problem import STATUS, members, problem, status_problem
from authz.rpc.admin.rest.rules import Rule, rules
from authz.rpc.admin.rest.url_template import MAX_PATH
from authz.rpc.admin.server import MAX_HEADER

MAX_BODY: Final = 1024 * 1024

JSON: Final = "application/json"
LINES: Final = "application/x-ndjson"
DOCUMENT: Final = "/openapi.json"
SAFE: Final[Mapping[str, str]] = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
}


class RestApi:
    """The REST form of the admin API. version: of this program, for the OpenAPI document."""

    def __init__(self, calls: Calls, version: str) -> None:
        self._calls = calls
        self._rules = rules(calls.methods.values())
        self._version = version
        self._document: Mapping[str, Any] | None = None

    def document(self) -> Mapping[str, Any]:
        """Return the OpenAPI 3.1 document. It is made once, at the first call."""
        if self._document is None:
            self._document = openapi(self._rules, self._version)
        return self._document

    async def respond(self, request: HttpRequest) -> HttpResponse:
        """Return the response to one request. Raises no Exception: every failure is a problem.

        A failure after the first message of a stream is the last line of the body instead.
        """
        call_id = call_id_of(request.header("x-request-id"))
        response = await self._respond(request, call_id)
        headers = {**response.headers, **SAFE, "x-request-id": call_id}
        return HttpResponse(response.status, headers, response.body)

    async def _respond(self, request: HttpRequest, call_id: str) -> HttpResponse:
        if request.path == DOCUMENT and request.method in {"GET", "HEAD"}:
            text = json.dumps(self.document(), indent=1)
            return HttpResponse(HTTPStatus.OK, {"content-type": JSON}, text.encode())
        found = self._find(request)
        if isinstance(found, HttpResponse):
            return found
        rule, variables = found
        arrival = _arrival(request, call_id)
        conditional = bool(request.header("if-match"))
        try:
            message = read_message(rule, variables, request)
            if rule.method.is_unary:
                response = await self._calls.unary(rule.method, message, arrival)
                return _unary_response(response, request)
            stream = self._calls.streaming(rule.method, _one(message), arrival)
            return await _stream_response(stream)
        except ApiError as error:
            return problem(error, is_conditional=conditional)

    def _find(self, request: HttpRequest) -> tuple[Rule, Mapping[str, str]] | HttpResponse:
        """Return the rule for a request with the variables of its path, or a problem.

        The problem is 413 or 414 for a body or path that is too long, 405 if another HTTP method
        has the path, else 404.
        """
        if len(request.body) > MAX_BODY:
            size, detail = HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body is over {MAX_BODY} bytes"
            return status_problem(size, "BODY_TOO_LARGE", detail)
        if len(request.path) > MAX_PATH:
            return status_problem(HTTPStatus.REQUEST_URI_TOO_LONG, "PATH_TOO_LONG", "path too long")
        allowed = set()
        for rule in self._rules:
            variables = rule.template.match(request.path)
            if variables is not None:
                if rule.verb == request.method:
                    return rule, variables
                allowed.add(rule.verb)
        if allowed:
            verbs = ", ".join(sorted(allowed))
            return status_problem(
                HTTPStatus.METHOD_NOT_ALLOWED,
                "METHOD_NOT_ALLOWED",
                f"use {verbs}",
                {"allow": verbs},
            )
        detail = f"no method has this path; {DOCUMENT} lists all"
        return status_problem(HTTPStatus.NOT_FOUND, "PATH_NOT_FOUND", detail)


def _arrival(request: HttpRequest, call_id: str) -> Arrival:
    credentials = Credentials(
        authorization=request.all_of("authorization"),
        certificate_uris=(),
        peer=request.peer,
        user_agent=request.header("user-agent")[:MAX_HEADER],
    )
    traceparent = request.header("traceparent")
    return Arrival(credentials, call_id, traceparent=traceparent, caller=request.caller)


def _unary_response(response: Message, request: HttpRequest) -> HttpResponse:
    headers = {"content-type": JSON}
    etag = _etag(response)
    if etag:
        headers["etag"] = f'"{etag}"'
        if request.method == "GET" and f'"{etag}"' in request.header("if-none-match").split(", "):
            return HttpResponse(HTTPStatus.NOT_MODIFIED, {"etag": headers["etag"]})
    return HttpResponse(HTTPStatus.OK, headers, _json(response) + b"\n")


def _etag(response: Message) -> str:
    key = getattr(response, "key", None)
    return str(getattr(key, "etag", ""))


async def _stream_response(stream: AsyncIterator[Message]) -> HttpResponse:
    """Return a response of lines, empty if there is no message.

    Waits for the first message. Raises ApiError if the call fails before it.
    """
    try:
        first = await anext(aiter(stream))
    except StopAsyncIteration:
        return HttpResponse(HTTPStatus.OK, {"content-type": LINES})
    return HttpResponse(HTTPStatus.OK, {"content-type": LINES}, _lines(first, stream))


async def _lines(first: Message, others: AsyncIterator[Message]) -> AsyncIterator[bytes]:
    """Yield one line of JSON for each message. A failure is the last line, with `error`."""
    yield _json(first) + b"\n"
    try:
        async for message in others:
            yield _json(message) + b"\n"
    except ApiError as error:
        status = STATUS.get(error.code, HTTPStatus.INTERNAL_SERVER_ERROR)
        yield json.dumps({"error": members(error, status)}).encode() + b"\n"


async def _one(message: Message) -> AsyncIterator[Message]:
    yield message


def _json(message: Message) -> bytes:
    return json_format.MessageToJson(message, indent=None, ensure_ascii=True).encode()
