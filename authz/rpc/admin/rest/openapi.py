"""The OpenAPI 3.1 document of the REST form, made from the descriptors and their comments."""

from collections.abc import Iterable
from typing import Any, Final, cast

from google.api.field_behavior_pb2 import FieldBehavior
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from authz.rpc.admin.rest.comments import comments
from authz.rpc.admin.rest.problem import CONTENT_TYPE
from authz.rpc.admin.rest.rules import WHOLE_MESSAGE, Rule
from authz.rpc.admin.rest.schemas import Schema, Schemas, behaviors, is_query_field

INTRODUCTION: Final = (
    "Issue, read, change and revoke API keys. Messages are those of the gRPC form, in ProtoJSON:"
    " names in lowerCamelCase, 64-bit integers as text, times in RFC 3339. Requests may also have"
    " the names of the .proto files."
)
PROBLEM: Final[Schema] = {
    "type": "object",
    "description": "A problem (RFC 9457).",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "description": "The code of gRPC, such as `NOT_FOUND`."},
        "reason": {"type": "string", "description": "A fixed word for programs."},
        "detail": {"type": "string", "description": "One line for people."},
        "errors": {
            "type": "array",
            "description": "The wrong fields of the request.",
            "items": {
                "type": "object",
                "properties": {"field": {"type": "string"}, "description": {"type": "string"}},
                "required": ["field", "description"],
            },
        },
    },
    "required": ["type", "title", "status", "code", "reason", "detail"],
}
RESPONSES: Final = {
    "400": "The request is wrong, or the state of the key does not permit the change.",
    "401": "A valid credential is necessary.",
    "403": "The roles of the caller do not allow this.",
    "404": "The key does not exist, or is not visible to the caller.",
    "405": "The path exists, with another HTTP method.",
    "409": "Somebody else changed the key meanwhile.",
    "412": "The key has another etag than `If-Match`.",
    "413": "The body is over 1 MiB.",
    "414": "The path is over 2,048 characters.",
    "429": "The caller makes too many calls.",
    "500": "A fault of the server, or a record that cannot be read.",
    "503": "The store or the identity provider cannot be used now. Try again.",
    "504": "The call took too long.",
}


def openapi(rules: Iterable[Rule], version: str) -> dict[str, Any]:
    """Return the document as plain values for JSON. version: of this program."""
    schemas = Schemas()
    paths: dict[str, dict[str, Any]] = {}
    for rule in rules:
        paths.setdefault(_url(rule), {})[rule.verb.lower()] = _operation(rule, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "authz admin API", "version": version, "description": INTRODUCTION},
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": {"Problem": PROBLEM, **dict(sorted(schemas.found.items()))},
            "responses": {
                status: {
                    "description": text,
                    "content": {CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
                }
                for status, text in RESPONSES.items()
            },
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token of the OpenID Connect issuer, or a key with a scope"
                    " such as `authz:viewer`.",
                }
            },
        },
    }


def _url(rule: Rule) -> str:
    """Return the path with one parameter for each `*`: `/v1/keys/{kid}:revoke`."""
    at, names = 0, list(_star_names(rule))
    parts = []
    for segment in rule.template.segments:
        parts.append(segment)
        if segment == "*":
            parts[-1] = f"{{{names[at]}}}"
            at += 1
    verb = f":{rule.template.verb}" if rule.template.verb else ""
    return "/" + "/".join(parts) + verb


def _star_names(rule: Rule) -> Iterable[str]:
    """Yield the name of each `*`: `kid` after `keys`, else the literal before it without `s`."""
    segments = rule.template.segments
    for at, segment in enumerate(segments):
        if segment == "*":
            yield {"keys": "kid"}.get(segments[at - 1], segments[at - 1].removesuffix("s"))


def _operation(rule: Rule, schemas: Schemas) -> dict[str, Any]:
    method = rule.method
    text = comments().get(method.descriptor.full_name, "")
    operation: dict[str, Any] = {
        "operationId": method.descriptor.name,
        "tags": [method.descriptor.containing_service.name],
        "summary": text.partition("\n\n")[0],
        "description": text,
        "parameters": [*_path_parameters(rule), *_query(rule, schemas), *_headers(rule)],
        "responses": _responses(rule, schemas),
    }
    body = _body(rule, schemas)
    if body:
        operation["requestBody"] = body
    if method.needed is not None:
        operation["x-authz-action"] = method.needed.value
    return operation


def _path_parameters(rule: Rule) -> Iterable[dict[str, Any]]:
    for name in _star_names(rule):
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _query(rule: Rule, schemas: Schemas) -> Iterable[dict[str, Any]]:
    if rule.body == WHOLE_MESSAGE:
        return
    in_path = {name.partition(".")[0] for name, _, _ in rule.template.variables}
    for field in _request(rule).fields:
        if field.name not in in_path | {rule.body} and is_query_field(field):
            schema = schemas.of_field(field)
            yield {
                "name": field.json_name,
                "in": "query",
                "description": schema.pop("description", ""),
                "required": FieldBehavior.REQUIRED in behaviors(field),
                "schema": schema,
            }


def _headers(rule: Rule) -> Iterable[dict[str, Any]]:
    fields = _request(rule).fields_by_name
    if "etag" in fields or rule.verb == "PATCH":
        yield _header("If-Match", "Change the key only if it has this etag.")
    if "request_id" in fields:
        yield _header("Idempotency-Key", "The same as `requestId`.")


def _header(name: str, text: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "description": text, "schema": {"type": "string"}}


def _body(rule: Rule, schemas: Schemas) -> dict[str, Any] | None:
    if not rule.body:
        return None
    descriptor = _request(rule)
    field: FieldDescriptor | None = descriptor.fields_by_name.get(rule.body)
    kind = descriptor if field is None or field.message_type is None else field.message_type
    schema = schemas.reference(kind)
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _request(rule: Rule) -> Descriptor:
    return cast("Descriptor", rule.method.request.DESCRIPTOR)


def _responses(rule: Rule, schemas: Schemas) -> dict[str, Any]:
    method = rule.method.descriptor
    kind = "application/x-ndjson" if method.server_streaming else "application/json"
    text = comments().get(method.output_type.full_name, "A response.")
    schema = schemas.reference(method.output_type)
    found: dict[str, Any] = {"200": {"description": text, "content": {kind: {"schema": schema}}}}
    if rule.verb == "GET" and "key" in method.output_type.fields_by_name:
        found["304"] = {"description": "The key still has the etag of `If-None-Match`."}
    return found | {status: {"$ref": f"#/components/responses/{status}"} for status in RESPONSES}
