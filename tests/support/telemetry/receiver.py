"""Receivers of OTLP over HTTP, good and bad. As a program: a good one."""

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Said = dict[str, Any]  # a message in the JSON form of OTLP


def attributes(said: Said) -> dict[str, str | bool]:
    """Return the attributes of a span or a data point."""
    pairs = ((each["key"], each["value"]) for each in said.get("attributes", ()))
    return {key: value for key, form in pairs for value in form.values()}


class Receiver(ThreadingHTTPServer):
    """A receiver that keeps all messages."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.endpoint = f"http://127.0.0.1:{self.server_port}"
        self.received: list[tuple[str, bytes]] = []

    def resources(self, kind: str) -> list[Said]:
        """Return the resource attributes of all messages of `metrics` or `traces`."""
        level = {"metrics": "resourceMetrics", "traces": "resourceSpans"}[kind]
        return [attributes(each["resource"]) for each in self._all(f"/v1/{kind}", level)]

    def spans(self) -> list[Said]:
        """Return every received span."""
        return list(self._all("/v1/traces", "resourceSpans", "scopeSpans", "spans"))

    def metrics(self) -> dict[str, Said]:
        """Return the last message of every metric."""
        found = self._all("/v1/metrics", "resourceMetrics", "scopeMetrics", "metrics")
        return {metric["name"]: metric for metric in found}

    def _all(self, path: str, *levels: str) -> list[Said]:
        found = [json.loads(body) for sent_to, body in self.received if sent_to == path]
        for level in levels:
            found = [each for message in found for each in message[level]]
        return found


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        """Keep the message and answer 200."""
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.received.append((self.path, body))
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_args: object) -> None:
        """Log nothing."""


@contextlib.contextmanager
def receiving() -> Iterator[Receiver]:
    """Run a receiver in a thread."""
    with Receiver() as receiver:
        thread = threading.Thread(target=receiver.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield receiver
        finally:
            receiver.shutdown()
            thread.join()


@contextlib.contextmanager
def black_hole() -> Iterator[str]:
    """Yield the endpoint of a receiver that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


if __name__ == "__main__":
    with Receiver() as server:
        print(server.endpoint, flush=True)
        server.serve_forever()
