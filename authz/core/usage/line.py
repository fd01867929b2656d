"""The text of a usage logger: the fields of a line, in their order. See entry.py."""

from typing import Final

METADATA: Final = "envoy.filters.http.ext_authz"
USAGE: Final = "authz.usage"
GATE_FIELDS_3: Final = (
    *("charge_id", "key_id", "secret_id", "reason", "route", "client_id", "project_id"),
    *("tenant_id", "plan", "env", "charged"),
)
GATE_FIELDS: Final = (*GATE_FIELDS_3, "model", "settle", "reserved")
"""The members of the gate's dynamic metadata, in the order of a line."""
TOKENS: Final = f"%DYNAMIC_METADATA({USAGE}:tokens)%"
"""The tokens that a response reported, in one word."""
ENVOY_FIELDS: Final = (
    *("ACCESS_LOG_TYPE", "RESPONSE_CODE", "GRPC_STATUS_NUMBER", "RESPONSE_FLAGS", "DURATION"),
    *("BYTES_RECEIVED", "BYTES_SENT", "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT"),
    *("START_TIME(%s%3f)", "UPSTREAM_REQUEST_ATTEMPT_COUNT", "RESPONSE_CODE_DETAILS"),
    *("REQ(:METHOD)", "ROUTE_NAME", "REQ(USER-AGENT):80"),
)
_AFTER_START: Final = ENVOY_FIELDS.index("START_TIME(%s%3f)") + 1
LINE: Final = " ".join(
    (
        "4",
        *(f"%DYNAMIC_METADATA({METADATA}:{name})%" for name in GATE_FIELDS),
        *(f"%{name}%" for name in ENVOY_FIELDS[:_AFTER_START]),
        TOKENS,
        *(f"%{name}%" for name in ENVOY_FIELDS[_AFTER_START:]),
    )
)
"""The text for Envoy's `body.string_value`."""
