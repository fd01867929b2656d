"""Receivers of OTLP over HTTP, good and bad. Run as a program: a good one."""

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Said = dict[str, Any]  # a message in the JSON form of OTLP


def attributes(said: Said) -> dict[str, str | bool]:
    """The attributes of a span or a data point."""
    pairs = ((each["key"], each["value"]) for each in said.get("attributes", ()))
    return {key: value for key, form in pairs for value in form.values()}


class Receiver(ThreadingHTTPServer):
    """Keeps what it is sent."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.endpoint = f"http://127.0.0.1:{self.server_port}"
        self.received: list[tuple[str, bytes]] = []

    def resources(self, kind: str) -> list[Said]:
        """Who sent, as it said itself; kind: `metrics` or `traces`."""
        level = {"metrics": "resourceMetrics", "traces": "resourceSpans"}[kind]
        return [attributes(each["resource"]) for each in self._all(f"/v1/{kind}", level)]

    def spans(self) -> list[Said]:
        """Every span that came."""
        return list(self._all("/v1/traces", "resourceSpans", "scopeSpans", "spans"))

    def metrics(self) -> dict[str, Said]:
        """Every metric that came, as it was last."""
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
        """Keep it and say that all is well."""
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.received.append((self.path, body))
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_args: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver in a thread."""
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
    """The endpoint of one that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


if __name__ == "__main__":
    with Receiver() as server:
        print(server.endpoint, flush=True)
        server.serve_forever()
