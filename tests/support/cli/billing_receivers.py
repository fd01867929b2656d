"""Receivers of billing records on loopback: of CloudEvents, and a Stripe as it is documented."""

import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

DAY = 86_400
KEY = "rk_test_0123456789"  # a key of the API of Stripe, made up

Answer = tuple[int, dict[str, str], bytes]


class Receiver:
    """Answers requests by `answer`, and remembers them."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.url = ""
        self.answer: Callable[[str, dict[str, str], bytes], Answer | None] = self.take
        self.events: dict[str, dict[str, Any]] = {}
        self.repeats = 0

    def take(self, _path: str, _headers: dict[str, str], body: bytes) -> Answer:
        """Take a batch of CloudEvents. An id has one content for ever."""
        for event in json.loads(body):
            self.repeats += event["id"] in self.events
            assert self.events.setdefault(event["id"], event) == event
        return 204, {}, b""

    def total(self, unit: str = "ok") -> int:
        """Return the sum of the quantities of a unit."""
        data = [event["data"] for event in self.events.values()]
        return sum(each["quantity"] for each in data if each["unit"] == unit)


class Stripe(Receiver):
    """The endpoint for meter events: v1/billing/meter_events.

    now: its clock, in seconds. fails: answers that come before the next ones.
    """

    def __init__(self) -> None:
        super().__init__()
        self.answer = self.create
        self.now: Callable[[], float] = time.time
        self.meters = {"api_requests"}
        self.counted: list[dict[str, str]] = []
        self.known: dict[str, float] = {}
        self.fails: list[Answer] = []
        self.busy: set[str] = set()
        self._lock = threading.Lock()

    def create(self, path: str, headers: dict[str, str], body: bytes) -> Answer:
        """Create a meter event."""
        form = dict(parse_qsl(body.decode("ascii"), strict_parsing=True))
        customer = form.get("payload[stripe_customer_id]", "")
        with self._lock:
            if self.fails:
                return self.fails.pop(0)
            if customer in self.busy:  # one call for a customer and meter at a time
                return self._error(429, "lock_timeout", "too many requests")
            self.busy.add(customer)
        try:
            time.sleep(0.002)
            with self._lock:
                return self._created(path, headers, form, customer)
        finally:
            self.busy.discard(customer)

    def _created(
        self, path: str, headers: dict[str, str], form: dict[str, str], customer: str
    ) -> Answer:
        if path != "/v1/billing/meter_events":
            return self._error(404, "", "Unrecognized request URL")
        if headers.get("Authorization") != f"Bearer {KEY}":
            return self._error(401, "", f"Invalid API Key provided: {headers['Authorization']}")
        if form.get("event_name") not in self.meters:
            return self._error(400, "resource_missing", "No active meter has this event name")
        if not customer.startswith("cus_"):
            return self._error(400, "resource_missing", f"No such customer: '{customer}'")
        identifier, at = form["identifier"], int(form["timestamp"])
        if len(identifier) > 100:
            return self._error(400, "parameter_invalid_string_too_long", "too long")
        if not self.now() - 35 * DAY <= at <= self.now() + 300:
            return self._error(400, "timestamp_too_far_in_past", "too old")
        int(form["payload[value]"])
        if self.now() - self.known.get(identifier, -DAY) < DAY:
            return self._error(400, "", f"An event already exists with identifier {identifier}.")
        self.known[identifier] = self.now()
        self.counted.append(form)
        event = {"object": "billing.meter_event", "identifier": identifier, "livemode": False}
        return 200, {"Content-Type": "application/json"}, json.dumps(event).encode()

    @staticmethod
    def _error(status: int, code: str, message: str) -> Answer:
        error = {"type": "invalid_request_error", "message": message} | (
            {"code": code} if code else {}
        )
        return status, {"Content-Type": "application/json"}, json.dumps({"error": error}).encode()

    def sums(self) -> dict[str, int]:
        """Return what each customer has to pay for."""
        found: dict[str, int] = {}
        for form in self.counted:
            customer = form["payload[stripe_customer_id]"]
            found[customer] = found.get(customer, 0) + int(form["payload[value]"])
        return found


@contextmanager
def listening(receiver: Receiver, tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """Yield the receiver with its URL. An answer None closes the connection."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            request = (self.path, dict(self.headers), body)
            receiver.requests.append(request)
            answer = receiver.answer(*request)
            if answer is None:
                self.close_connection = True
                return
            status, headers, content = answer
            if not status:
                self.wfile.write(content)
                self.close_connection = True
                return
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(content))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_args: object) -> None:
            """Write no lines."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    receiver.url = f"http{'s' if tls else ''}://127.0.0.1:{server.server_address[1]}"
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
