"""Read the request message of a method from path, query, headers and body.

Strict, as over gRPC: a field that the message does not have, a member that comes twice, and a value
of another type are refused and named.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from authz.core.errors import BadInput
from authz.core.fields import shown
from authz.core.http_exchange import HttpRequest
from authz.rpc.admin.api_error import ApiError, invalid
from authz.rpc.admin.rest.rules import WHOLE_MESSAGE, Rule

MAX_PARAMETERS: Final = 100
MAX_DEPTH: Final = 20  # of messages in messages

_JSON: Final = "application/json"
# Texts of json_format.ParseError, whose fields it names from the outer to the inner one.
_IN_FIELD: Final = re.compile(r"Failed to parse ([A-Za-z_]{1,64}) field: ")
_NO_FIELD: Final = re.compile(
    r'Message type "[A-Za-z0-9_.]{1,99}" has no field named "([^"]{1,64})"'
)
_ONE_OF: Final = re.compile(r'Message type "[A-Za-z0-9_.]{1,99}" should not have multiple ')
_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)
_MASK: Final = "google.protobuf.FieldMask"
_SNAKE: Final = re.compile(r"_([a-z])", re.ASCII)  # names of a mask may be in either form
_TRUTH: Final = {"true": True, "false": False}


def read_message(rule: Rule, variables: Mapping[str, str], request: HttpRequest) -> Message:
    """Return the request message. Raises ApiError INVALID_ARGUMENT that names the field.

    `If-Match` sets the etag (`*` sets none) and `Idempotency-Key` the request id. They are refused
    if the message has no such field, as is a body or a query parameter in the wrong place.
    """
    message = rule.method.request()
    descriptor = cast("Descriptor", message.DESCRIPTOR)
    tree: dict[str, Any] = {}
    if rule.body:
        sent = _body(request)
        tree = sent if rule.body == WHOLE_MESSAGE else {rule.body: sent}
    elif request.body:
        raise invalid("body", "this method takes no body; use query parameters")
    for name, values in _parameters(request.query).items():
        if rule.body in {WHOLE_MESSAGE, name.partition(".")[0]}:
            raise invalid(_safe(name), "belongs into the body")
        _put(tree, name, _query_value(descriptor, name, values))
    for name, value in {**_from_headers(rule, request), **variables}.items():
        _put(tree, name, value)
    return _parsed(tree, message)


def _body(request: HttpRequest) -> dict[str, Any]:
    """Return the JSON object of the body; an empty one without a body.

    Raises ApiError for another content type, wrong JSON, a member that comes twice, and more than
    MAX_DEPTH (20) levels.
    """
    if not request.body:
        return {}
    kind = request.header("content-type").partition(";")[0].strip().lower()
    if kind != _JSON:
        raise invalid("content-type", f"must be {_JSON}")
    try:
        sent = json.loads(request.body, object_pairs_hook=_object, parse_constant=_no_number)
    except BadInput as error:
        raise invalid(error.field, error.problem) from None
    except (ValueError, RecursionError):
        raise invalid("body", "is no JSON text in UTF-8") from None
    if not isinstance(sent, dict):
        raise invalid("body", "must be a JSON object")
    if _depth(sent) > MAX_DEPTH:
        raise invalid("body", f"has more than {MAX_DEPTH} levels")
    return sent


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        double = next(name for name in names if names.count(name) > 1)
        raise BadInput(_safe(double), "comes twice")
    return found


def _no_number(text: str) -> Any:
    raise BadInput("body", f"{text} is no number in JSON")


def _depth(value: Any) -> int:
    """Return the number of levels, at most MAX_DEPTH + 1. `{}` has 1, and `{"a": 1}` has 2."""
    level, here = 0, [value]
    while here and level <= MAX_DEPTH:
        here = [
            inner
            for each in here
            if isinstance(each, (dict, list))
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
        level += 1
    return level


def _parameters(query: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for at, (name, value) in enumerate(query):
        if at >= MAX_PARAMETERS:
            raise invalid("query", f"has more than {MAX_PARAMETERS} parameters")
        found.setdefault(name, []).append(value)
    return found


def _query_value(descriptor: Descriptor, name: str, values: list[str]) -> Any:
    """Return the value of a query parameter in the form of JSON; a list for a repeated field.

    name: dotted path of the field. Raises ApiError if there is no such field, for a repeated
    message, and for several values of a field that is not repeated.
    """
    field = _field(descriptor, name)
    if field.is_repeated:
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            raise invalid(_safe(name), "cannot be a query parameter")
        return [_scalar(field, name, value) for value in values]
    if len(values) > 1:
        raise invalid(_safe(name), "comes more than once")
    return _scalar(field, name, values[0])


def _field(descriptor: Descriptor, name: str) -> FieldDescriptor:
    """Return the field of a dotted path, by its name in the message or in JSON.

    Raises ApiError if there is none.
    """
    kind: Descriptor | None = descriptor
    field = None
    for part in name.split(".")[:MAX_DEPTH]:
        field = None if kind is None else _named(kind, part)
        if field is None:
            raise invalid(_safe(name), "is not a field of this request")
        kind = field.message_type
    if field is None:
        raise invalid("query", "has a parameter without a name")
    return field


def _named(descriptor: Descriptor, name: str) -> FieldDescriptor | None:
    return next((each for each in descriptor.fields if name in (each.name, each.json_name)), None)


def _scalar(field: FieldDescriptor, name: str, text: str) -> Any:
    if field.type == FieldDescriptor.TYPE_BOOL:
        if text not in _TRUTH:
            raise invalid(_safe(name), "must be true or false")
        return _TRUTH[text]
    if field.message_type is not None and field.message_type.full_name == _MASK:
        return _SNAKE.sub(lambda match: match[1].upper(), text)
    return text


def _from_headers(rule: Rule, request: HttpRequest) -> dict[str, str]:
    found = {}
    fields = rule.method.request.DESCRIPTOR.fields_by_name
    etag = request.header("if-match")
    if etag and etag != "*":
        path = "etag" if "etag" in fields else f"{rule.body}.etag"
        if path != "etag" and (rule.verb != "PATCH" or rule.body == WHOLE_MESSAGE):
            raise invalid("if-match", "this method takes no condition")
        found[path] = etag.removeprefix("W/").strip('"')
    given = request.header("idempotency-key")
    if given:
        if "request_id" not in fields:
            raise invalid("idempotency-key", "this method takes no request id")
        found["request_id"] = given
    return found


def _put(tree: dict[str, Any], path: str, value: Any) -> None:
    """Set a value in a tree of objects, at a dotted path. Raises ApiError if another is there."""
    *heads, last = path.split(".")
    for head in heads:
        tree = tree.setdefault(head, {})
        if not isinstance(tree, dict):
            raise invalid(_safe(path), "is no part of an object")
    if tree.get(last, value) != value:
        raise invalid(_safe(path), "differs from the path, the query or a header")
    tree[last] = value


def _parsed(tree: dict[str, Any], message: Message) -> Message:
    try:
        return json_format.ParseDict(tree, message, max_recursion_depth=MAX_DEPTH + 5)
    except json_format.ParseError as error:
        raise _refusal(str(error)) from None
    except (ValueError, TypeError, AttributeError, RecursionError, OverflowError):
        raise invalid("request", "has a value of the wrong type") from None


def _refusal(text: str) -> ApiError:
    """Return INVALID_ARGUMENT in our own words: the library's text repeats the client's values."""
    names, at = [], 0
    while match := _IN_FIELD.match(text, at):
        names.append(match[1])
        at = match.end()
    unknown = _NO_FIELD.match(text, at)
    if unknown:
        return invalid(_safe(".".join([*names, unknown[1]])), "is not a field of this request")
    where = ".".join(names) or "request"
    if _ONE_OF.match(text, at):
        return invalid(where, "has two fields of which only one may be set")
    return invalid(where, "has a value of the wrong type")


def _safe(name: str) -> str:
    """Return a name from a client as it may stand in an error.

    Up to 64 of A-Z a-z 0-9 _ . - stay as they are; other text is quoted, escaped and cut.
    """
    return name if _PLAIN_NAME.fullmatch(name) else shown(name)
