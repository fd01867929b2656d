"""The other end of a Connection, without I/O: frames by hyperframe, header blocks by hpack."""

from collections.abc import Iterable
from typing import Any, TypeVar

from hpack import Decoder, Encoder
from hyperframe.frame import (
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    RstStreamFrame,
    SettingsFrame,
)

from authz.process.listener import ConnectionLimits
from authz.rpc.h2.connection import Connection
from authz.rpc.h2.frames import PREFACE, ErrorCode
from authz.rpc.h2.request_bodies import BodyMemory
from authz.rpc.h2.stream_states import Call, CallEvent
from tests.support.fakes import RecordingProbe

START = 1000.0
PATH = "/envoy.service.auth.v3.Authorization/Check"
Fields = Iterable[tuple[str, str]]
F = TypeVar("F", bound=Frame)

GRPC = (
    (":method", "POST"),
    (":scheme", "http"),
    (":path", PATH),
    (":authority", "authz"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
)


def grpc_fields(*more: tuple[str, str], **pseudo: str) -> list[tuple[str, str]]:
    """Return the fields of a call. `path="/x"` replaces a field, an empty value removes it."""
    changed = {f":{name}": value for name, value in pseudo.items()}
    fields = [(name, changed.get(name, value)) for name, value in GRPC]
    return [field for field in fields if field[1]] + list(more)


def framed(message: bytes, compressed: int = 0) -> bytes:
    """Return a message in its gRPC frame."""
    return bytes([compressed]) + len(message).to_bytes(4) + message


def frames_of(data: bytes) -> list[Frame]:
    """Cut bytes into frames."""
    view, found = memoryview(data), []
    while view:
        frame, size = Frame.parse_frame_header(view[:9])
        frame.parse_body(view[9 : 9 + size])
        found.append(frame)
        view = view[9 + size :]
    return found


class Client:
    """A client of a Connection.

    echo: answer every complete call at once with its own message. Otherwise `calls` keeps them.
    """

    def __init__(
        self,
        limits: ConnectionLimits | None = None,
        *,
        memory: BodyMemory | None = None,
        echo: bool = True,
    ) -> None:
        self.now = START
        self.probe = RecordingProbe()
        self.limits = limits or ConnectionLimits()
        self.memory = memory or BodyMemory(64 * self.limits.message_bytes)
        self.connection = Connection(
            {PATH.encode(): lambda message: message}, self.limits, self.memory, self.probe, self.now
        )
        self.echo = echo
        self.encoder, self.decoder = Encoder(), Decoder()
        self.calls: list[tuple[Call, bytes]] = []
        self.cancelled: list[Call] = []
        self.headers: dict[int, list[list[tuple[str, str]]]] = {}  # stream -> its header lists
        self.bodies: dict[int, bytes] = {}
        self.greeting = self.flush()  # what came before anything was sent

    @classmethod
    def greeted(cls, limits: ConnectionLimits | None = None, **options: Any) -> "Client":
        """Return a client that has greeted the server and uses no header table."""
        client = cls(limits, **options)
        client.greet()
        return client

    def greet(self, **settings: int) -> list[Frame]:
        """Send the preface, settings, and the acknowledgement of the server's settings."""
        wanted = {getattr(SettingsFrame, name): value for name, value in settings.items()}
        self.encoder.header_table_size = 0
        return self.send(
            PREFACE, SettingsFrame(0, settings=wanted), SettingsFrame(0, flags=["ACK"])
        )

    def send(self, *parts: bytes | Frame) -> list[Frame]:
        """Send in one piece. Return the server's frames."""
        data = b"".join(part if isinstance(part, bytes) else part.serialize() for part in parts)
        events = self.connection.receive(data, self.now)
        while self.connection.has_input:
            events += self.connection.receive(b"", self.now)
        return self.react(events)

    def wait(self, seconds: float) -> list[Frame]:
        """Let time pass. Return the server's frames."""
        self.now += seconds
        return self.react(self.connection.expire(self.now))

    def react(self, events: list[CallEvent]) -> list[Frame]:
        """Act on events as the protocol does. Return the frames that it would send."""
        for call, message in events:
            if message is None:
                self.cancelled.append(call)
            elif self.echo:
                self.connection.responses.respond(call, message)
            else:
                self.calls.append((call, message))
        return self.flush()

    def flush(self) -> list[Frame]:
        """Return the frames that the server has to send."""
        return self._note(frames_of(self.connection.queue.take()))

    def request(self, stream_id: int, fields: Fields = GRPC, *flags: str) -> HeadersFrame:
        """Return HEADERS, complete unless flags say otherwise."""
        block = self.encoder.encode(list(fields))
        return HeadersFrame(stream_id, block, flags=flags or ["END_HEADERS"])

    def call(self, stream_id: int, message: bytes = b"hello", fields: Fields = GRPC) -> bytes:
        """Return a whole call in two frames."""
        body = DataFrame(stream_id, framed(message), flags=["END_STREAM"])
        return self.request(stream_id, fields).serialize() + body.serialize()

    def status(self, stream_id: int) -> tuple[str, str] | None:
        """Return the gRPC status of a response and its message, or None without a response."""
        for fields in self.headers.get(stream_id, []):
            named = dict(fields)
            if "grpc-status" in named:
                return named["grpc-status"], named.get("grpc-message", "")
        return None

    def answered(self, stream_id: int) -> bytes | None:
        """Return the message of a response with status OK, else None."""
        if self.status(stream_id) != ("0", ""):
            return None
        body = self.bodies[stream_id]
        assert body[:5] == framed(body[5:])[:5]
        return body[5:]

    def _note(self, frames: list[Frame]) -> list[Frame]:
        for frame in frames:
            if isinstance(frame, HeadersFrame):
                fields = self.decoder.decode(frame.data)
                self.headers.setdefault(frame.stream_id, []).append(list(fields))
            if isinstance(frame, DataFrame):
                self.bodies[frame.stream_id] = self.bodies.get(frame.stream_id, b"") + frame.data
        return frames


def only(frames: list[Frame], kind: type[F]) -> list[F]:
    """Return the frames of one type."""
    return [frame for frame in frames if isinstance(frame, kind)]


def resets(frames: list[Frame]) -> list[tuple[int, ErrorCode]]:
    """Return the streams that were reset, with the codes."""
    return [
        (frame.stream_id, ErrorCode(frame.error_code)) for frame in only(frames, RstStreamFrame)
    ]


def farewell(frames: list[Frame]) -> ErrorCode | None:
    """Return the code of the last GOAWAY, or None."""
    found = only(frames, GoAwayFrame)
    return ErrorCode(found[-1].error_code) if found else None
