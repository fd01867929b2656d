"""Usage over the admin API."""

from authz.core.usage.counts import Counts, Field
from authz.rpc.pb.admin.v1 import usage_pb2


def counts_of(message: usage_pb2.UsageCounts) -> Counts:
    """Return the numbers of some requests."""
    numbers = {
        Field.OK: message.ok,
        Field.CLIENT_ERROR: message.client_error,
        Field.SERVER_ERROR: message.server_error,
        Field.DENIED: message.denied,
        Field.ABORTED: message.aborted,
        Field.BYTES_IN: message.bytes_in,
        Field.BYTES_OUT: message.bytes_out,
        Field.MILLISECONDS: message.duration_ms,
        Field.SLOW_100_MS: message.over_100_ms,
        Field.SLOW_1_S: message.over_1_s,
        Field.SLOW_10_S: message.over_10_s,
    }
    units = message.units - (message.requests - message.denied)
    return Counts(tuple(numbers.get(field, max(0, units)) for field in Field))
