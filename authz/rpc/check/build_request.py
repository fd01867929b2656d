"""Write a CheckRequest as Envoy would, to learn the decision of a Check."""

from base64 import b64encode
from collections.abc import Mapping, Sequence

from envoy.service.auth.v3.external_auth_pb2 import CheckRequest

from authz.rpc.check.credential import BASIC_USERNAME, header_of
from authz.rpc.check.required import MODEL_NAME, MODEL_SPACE


def check_request(
    *,
    method: str,
    host: str,
    path: str,
    peer: str,
    headers: Mapping[str, str],
    extensions: Mapping[str, str],
    model: str = "",
) -> bytes:
    """Return the serialised CheckRequest. Values are not checked.

    peer: the address of the source. extensions: context_extensions of Envoy's route. model: that
    the filter for LLM APIs read in the body; empty for none.
    """
    message = CheckRequest()
    attributes = message.attributes
    attributes.source.address.socket_address.address = peer
    http = attributes.request.http
    http.method, http.host, http.path = method, host, path
    http.headers.update(headers)
    attributes.context_extensions.update(extensions)
    if model:
        space = attributes.metadata_context.filter_metadata[MODEL_SPACE.decode()]
        space.fields[MODEL_NAME.decode()].string_value = model
    return bytes(message.SerializeToString())


def carried(carrier: str, key: str) -> tuple[str, str]:
    """Return the header that a carrier of the settings names, and its value with this key.

    For `header:scheme` the value is the scheme, a blank and the key; for `header:` the key alone;
    for `basic:username` Basic credentials with an empty password.
    """
    if carrier == BASIC_USERNAME:
        return header_of(carrier), f"Basic {b64encode(f'{key}:'.encode()).decode()}"
    header, _, scheme = carrier.partition(":")
    return header, f"{scheme} {key}" if scheme else key


def joined(headers: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Return headers as Envoy sends them: the values of a repeated name are joined with a comma."""
    found: dict[str, str] = {}
    for name, value in headers:
        found[name] = f"{found[name]},{value}" if name in found else value
    return found
