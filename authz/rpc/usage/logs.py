"""The method `Export` of OpenTelemetry's log service, as Envoy's access logger calls it.

Envoy waits for the answer, and sends a batch again with the same bytes until it gets OK. So the
answer waits until the store has the counts. The protocol:
https://github.com/open-telemetry/opentelemetry-proto/blob/main/docs/specification.md
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from authz.core.usage.events import MeterEvent
from authz.core.usage.ports import MeterProbe
from authz.flows.usage.batches import Confirmed, Deferred
from authz.rpc.h2.request_headers import MethodHandler
from authz.rpc.h2.responses import GrpcCode, GrpcStatus
from authz.rpc.pb.usage.v1.otlp_logs_pb2 import ExportLogsServiceRequest

PATH: Final = b"/opentelemetry.proto.collector.logs.v1.LogsService/Export"
OK: Final = b""  # an ExportLogsServiceResponse without partial success
GARBLED: Final = GrpcStatus(GrpcCode.INVALID_ARGUMENT, "not an ExportLogsServiceRequest")

Take = Callable[[bytes, Sequence[bytes]], Confirmed | Deferred]
"""Takes the bytes of a batch and its lines, as `Meter.take`."""


class LogsHandler:
    """Answers Export once `take` has confirmed the batch."""

    def __init__(self, take: Take, probe: MeterProbe) -> None:
        self._take = take
        self._probe = probe

    @property
    def methods(self) -> Mapping[bytes, MethodHandler]:
        """The methods by their path."""
        return {PATH: self.export}

    def export(self, raw: bytes) -> bytes | GrpcStatus | asyncio.Future[bytes | GrpcStatus]:
        """Return the answer, or a future of it. It is OK only after the store has the batch.

        OK at once for a message without lines. UNAVAILABLE with a RetryInfo if the batch cannot be
        taken now or waited too long, INVALID_ARGUMENT for bytes that are no message. If the future
        is cancelled, the batch is counted all the same.
        """
        try:
            request = ExportLogsServiceRequest.FromString(raw)
        except DecodeError:
            self._probe.count(MeterEvent.BATCH_GARBLED)
            return GARBLED
        lines = [
            record.body.string_value
            for resource in request.resource_logs
            for scope in resource.scope_logs
            for record in scope.log_records
        ]
        if not lines:
            return OK
        found = self._take(raw, lines)
        if isinstance(found, Deferred):
            return _unavailable(found.reason, found.seconds)
        answer: asyncio.Future[bytes | GrpcStatus] = found.get_loop().create_future()
        answer.add_done_callback(partial(_forget, found))
        found.add_done_callback(partial(_answer, answer))
        return answer


def _answer(answer: asyncio.Future[bytes | GrpcStatus], confirmed: Confirmed) -> None:
    if answer.done() or confirmed.cancelled():
        return
    late = "the batch waited too long for the store"
    answer.set_result(OK if confirmed.result() else _unavailable(late, 0.0))


def _forget(confirmed: Confirmed, answer: asyncio.Future[bytes | GrpcStatus]) -> None:
    if answer.cancelled():  # the sender has gone
        confirmed.cancel()


def _unavailable(reason: str, seconds: float) -> GrpcStatus:
    """Return UNAVAILABLE with a RetryInfo: the seconds after which the sender may come again."""
    delay = Duration(nanos=0)
    delay.FromMilliseconds(round(seconds * 1000))
    status = Status(code=GrpcCode.UNAVAILABLE, message=reason)
    status.details.add().Pack(RetryInfo(retry_delay=delay))
    return GrpcStatus(GrpcCode.UNAVAILABLE, reason, status.SerializeToString())
