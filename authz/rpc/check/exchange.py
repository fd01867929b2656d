"""Describe a CheckRequest and a CheckResponse in plain values, for people who ask why."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from envoy.config.core.v3.base_pb2 import HeaderValueOption
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse

from authz.core.keys.text import without_secrets

MASK: Final = "..."


def describe_request(raw: bytes, key_header: str, key: str) -> dict[str, Any]:
    """Return the request that Envoy would send, as plain values, without the secret of `key`.

    The secret is masked in the path and in all headers, and Basic credentials in `key_header` are
    masked whole. Raises DecodeError if `raw` is no CheckRequest.
    """
    attributes = CheckRequest.FromString(raw).attributes
    http = attributes.request.http
    headers = {name: _masked(value, key) for name, value in sorted(http.headers.items())}
    if key_header in headers and headers[key_header].lower().startswith("basic "):
        headers[key_header] = f"Basic {MASK}"
    return {
        "method": http.method,
        "host": http.host,
        "path": _masked(http.path, key),
        "headers": headers,
        "address": attributes.source.address.socket_address.address,
        "context_extensions": dict(sorted(attributes.context_extensions.items())),
    }


def describe_response(raw: bytes, path: str) -> dict[str, Any]:
    """Return the effect of a response: on the request to the backend, and on the caller.

    path: of the request, as Envoy sent it. `backend` is present only for an allow; its `path` only
    if a key was taken out of the query. A refusal has `status`, `headers` and `body` under
    `caller`. Raises DecodeError if `raw` is no CheckResponse, ValueError if the body of a refusal
    is not JSON.
    """
    response = CheckResponse.FromString(raw)
    if response.HasField("ok_response"):
        ok = response.ok_response
        headers = _headers(ok.headers)
        left = headers.pop(":path", None)
        removed = [] if left is None else _parameters(path, but=_parameters(left))
        backend = {
            "headers": headers,
            "removed_headers": list(ok.headers_to_remove),
            "removed_parameters": removed,
        }
        if left is not None:
            backend["path"] = without_secrets(left)
        return {"backend": backend, "caller": {"headers": _headers(ok.response_headers_to_add)}}
    arm = getattr(response, response.WhichOneof("http_response") or "denied_response")
    return {
        "caller": {
            "status": arm.status.code,
            "headers": _headers(arm.headers),
            "body": json.loads(arm.body),
        }
    }


def in_lines(sent: Mapping[str, Any], done: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return both descriptions as pairs of label and text: sent, backend, removed, caller.

    Backend and removed are left out for a refusal. `-` stands for no change to the backend's
    headers or to the caller.
    """
    lines = [("sent", "; ".join((f"{sent['method']} {sent['host']}{sent['path']}", *_said(sent))))]
    if backend := done.get("backend"):
        removed = ", ".join((*backend["removed_headers"], *backend["removed_parameters"]))
        lines += [("backend", "; ".join(_said(backend)) or "-"), ("removed", removed)]
    caller = done["caller"]
    parts = [str(caller["status"])] if "status" in caller else []
    parts += [*_said(caller), *([json.dumps(caller["body"])] if "body" in caller else [])]
    return [*lines, ("caller", "; ".join(parts) or "-")]


def _said(described: Mapping[str, Any]) -> list[str]:
    return [f"{name}: {value}" for name, value in described["headers"].items()]


def _parameters(path: str, but: Iterable[str] = ()) -> list[str]:
    """Return the names of the query parameters, each once, in order, without those in `but`."""
    names = (part.partition("=")[0] for part in path.partition("?")[2].split("&"))
    return [name for name in dict.fromkeys(names) if name and name not in but]


def _headers(options: Iterable[HeaderValueOption]) -> dict[str, str]:
    return {option.header.key: option.header.value for option in options}


def _masked(value: str, key: str) -> str:
    """Return the value with the secret of `key` masked, and with every secret of our own format.

    A key in another format keeps its first 4 characters.
    """
    shown = without_secrets(key)
    if shown == key:
        shown = f"{key[:4]}{MASK}"
    return without_secrets(value.replace(key, shown))
