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

from authz.process.listener import Limits
from authz.rpc.h2.connection import Connection
from authz.rpc.h2.frames import PREFACE, Code
from authz.rpc.h2.limits import Hold
from authz.rpc.h2.streams import Call, State
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
    """The fields of a call; `path="/x"` replaces, and an empty value takes a field away."""
    changed = {f":{name}": value for name, value in pseudo.items()}
    fields = [(name, changed.get(name, value)) for name, value in GRPC]
    return [field for field in fields if field[1]] + list(more)


def framed(message: bytes, compressed: int = 0) -> bytes:
    """A message as gRPC sends it."""
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
    """Talks to a Connection of its own.

    echo: answer every complete call at once with its own message. Otherwise `calls` keeps them.
    """

    def __init__(
        self, limits: Limits | None = None, *, hold: Hold | None = None, echo: bool = True
    ) -> None:
        self.now = START
        self.probe = RecordingProbe()
        self.limits = limits or Limits()
        self.hold = hold or Hold(64 * self.limits.message_bytes)
        self.connection = Connection(
            {PATH.encode(): lambda message: message}, self.limits, self.hold, self.probe, self.now
        )
        self.echo = echo
        self.encoder, self.decoder = Encoder(), Decoder()
        self.calls: list[Call] = []
        self.given_up: list[Call] = []
        self.headers: dict[int, list[list[tuple[str, str]]]] = {}  # stream -> its header lists
        self.bodies: dict[int, bytes] = {}
        self.greeting = self.flush()  # what came before anything was sent

    @classmethod
    def greeted(cls, limits: Limits | None = None, **options: Any) -> "Client":
        """A client that has said hello, and uses no header table."""
        client = cls(limits, **options)
        client.greet()
        return client

    def greet(self, **settings: int) -> list[Frame]:
        """The preface, our settings, and that we have heard of the server's."""
        wanted = {getattr(SettingsFrame, name): value for name, value in settings.items()}
        self.encoder.header_table_size = 0
        return self.send(
            PREFACE, SettingsFrame(0, settings=wanted), SettingsFrame(0, flags=["ACK"])
        )

    def send(self, *parts: bytes | Frame) -> list[Frame]:
        """Send in one piece; what comes back."""
        data = b"".join(part if isinstance(part, bytes) else part.serialize() for part in parts)
        return self.react(self.connection.receive(data, self.now))

    def wait(self, seconds: float) -> list[Frame]:
        """Time passes; what comes back."""
        self.now += seconds
        return self.react(self.connection.expire(self.now))

    def react(self, calls: list[Call]) -> list[Frame]:
        """As the shell does."""
        for call in calls:
            if call.state is not State.ANSWERING:
                self.given_up.append(call)
            elif self.echo:
                self.connection.answer(call, call.message)
            else:
                self.calls.append(call)
        return self.flush()

    def flush(self) -> list[Frame]:
        """What the server has to send."""
        return self._note(frames_of(self.connection.take()))

    def request(self, stream_id: int, fields: Fields = GRPC, *flags: str) -> HeadersFrame:
        """HEADERS, complete unless flags say otherwise."""
        block = self.encoder.encode(list(fields))
        return HeadersFrame(stream_id, block, flags=flags or ["END_HEADERS"])

    def call(self, stream_id: int, message: bytes = b"hello", fields: Fields = GRPC) -> bytes:
        """A whole call in two frames."""
        body = DataFrame(stream_id, framed(message), flags=["END_STREAM"])
        return self.request(stream_id, fields).serialize() + body.serialize()

    def status(self, stream_id: int) -> tuple[str, str] | None:
        """The gRPC status of an answer and its message, or None when there was none."""
        for fields in self.headers.get(stream_id, []):
            named = dict(fields)
            if "grpc-status" in named:
                return named["grpc-status"], named.get("grpc-message", "")
        return None

    def answered(self, stream_id: int) -> bytes | None:
        """The message of an answer that is all right."""
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
    """The frames of one kind."""
    return [frame for frame in frames if isinstance(frame, kind)]


def resets(frames: list[Frame]) -> list[tuple[int, Code]]:
    """The streams that were reset, and why."""
    return [(frame.stream_id, Code(frame.error_code)) for frame in only(frames, RstStreamFrame)]


def farewell(frames: list[Frame]) -> Code | None:
    """The code of the GOAWAY, if there is one."""
    found = only(frames, GoAwayFrame)
    return Code(found[-1].error_code) if found else None
