"""A CheckRequest as Envoy would send it: for who wants to know what a Check decides."""

from collections.abc import Mapping

from envoy.service.auth.v3.external_auth_pb2 import CheckRequest


def check_request(
    *,
    method: str,
    host: str,
    path: str,
    peer: str,
    headers: Mapping[str, str],
    extensions: Mapping[str, str],
) -> bytes:
    """The message for one request. extensions: what Envoy's configuration says of the route."""
    message = CheckRequest()
    attributes = message.attributes
    attributes.source.address.socket_address.address = peer
    http = attributes.request.http
    http.method, http.host, http.path = method, host, path
    http.headers.update(headers)
    attributes.context_extensions.update(extensions)
    return bytes(message.SerializeToString())
