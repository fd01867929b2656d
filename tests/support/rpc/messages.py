"""CheckRequests as Envoy writes them, in both header forms."""

from collections.abc import Iterable, Mapping

from envoy.service.auth.v3.external_auth_pb2 import CheckRequest

Headers = Iterable[tuple[str, str | bytes]]

PEER = "203.0.113.7"


def check_request(
    headers: Headers = (),
    *,
    raw_headers: bool = False,
    method: str = "GET",
    host: str = "api.example.com",
    path: str = "/v1/models",
    peer: str = PEER,
    extensions: Mapping[str, str] | None = None,
    model: str | None = None,
) -> CheckRequest:
    """Return a request with `headers` as the client sent them, duplicates apart.

    model: that the LLM filter of Envoy read in the body.
    """
    message = CheckRequest()
    attributes = message.attributes
    attributes.source.address.socket_address.address = peer
    attributes.source.address.socket_address.port_value = 54321
    attributes.destination.address.socket_address.address = "10.0.0.9"
    attributes.destination.address.socket_address.port_value = 10000
    http = attributes.request.http
    http.id, http.method, http.host, http.path = "1234567890", method, host, path
    http.scheme, http.protocol = "https", "HTTP/2"
    sent = [(name, value.encode() if isinstance(value, str) else value) for name, value in headers]
    if raw_headers:
        for name, value in sent:
            http.header_map.headers.add(key=name, raw_value=value)
    else:
        http.headers.update(joined(sent))
    attributes.context_extensions.update(extensions or {})
    if model is not None:
        found = attributes.metadata_context.filter_metadata["authz.request"]
        found.fields["model"].string_value = model
    return message


def joined(sent: Iterable[tuple[str, bytes]]) -> dict[str, str]:
    """Return Envoy's header map: duplicates joined with a comma, odd bytes turned into `!`."""
    found: dict[str, str] = {}
    for name, value in sent:
        text = _sanitised(value)
        found[name] = f"{found[name]},{text}" if name in found else text
    return found


def _sanitised(value: bytes) -> str:
    """Replace each byte that is not part of valid UTF-8 by `!`."""
    text = ""
    while value:
        try:
            return text + value.decode()
        except UnicodeDecodeError as cause:
            text += value[: cause.start].decode() + "!"
            value = value[cause.start + 1 :]
    return text
