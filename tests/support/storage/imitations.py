"""Servers that are no Redis or Valkey."""

import contextlib
import socketserver
import threading
from collections.abc import Callable, Iterator

HELLO = (
    b"%3\r\n$6\r\nserver\r\n$6\r\nvalkey\r\n$7\r\nversion\r\n$5\r\n9.1.0\r\n"
    b"$4\r\nrole\r\n$6\r\nmaster\r\n"
)

Answer = Callable[[list[bytes]], bytes | None]


@contextlib.contextmanager
def imitation(answer: Answer) -> Iterator[str]:
    """Yield the URL of a server that sends `answer(words)` for each command.

    After None the connection ends.
    """

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError, ValueError):
                while line := self.rfile.readline():
                    words = [self._word() for _ in range(int(line[1:]))]
                    reply = answer(words)
                    if reply is None:
                        return
                    self.wfile.write(reply)

        def _word(self) -> bytes:
            length = int(self.rfile.readline()[1:])
            return self.rfile.read(length + 2)[:-2]

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"redis://127.0.0.1:{server.server_address[1]}/0"
        finally:
            server.shutdown()
            thread.join()


def says(reply: bytes, *, greets: bool = True) -> Answer:
    """Return an answer to every command. greets: a login gets that of a Valkey."""

    def answer(words: list[bytes]) -> bytes:
        if greets and words[0].upper() == b"HELLO":
            return HELLO
        if greets and words[0].upper() in {b"CLIENT", b"SELECT"}:
            return b"+OK\r\n"
        return reply

    return answer
