"""Receivers of events over real sockets: signatures, internal addresses, redirects, bounds."""

import http.server
import json
import logging
import socket
import threading
from functools import partial

import pytest

from authz.core.audit import Action, AuditEntry, AuditEvent
from authz.core.errors import BadInput, Unavailable
from authz.core.fields import networks
from authz.core.notifications import bodies
from authz.core.notifications.notification import notification
from authz.core.notifications.ports import Answer
from authz.core.public_addresses import may_be_reached
from authz.core.trail.rows import Row
from authz.process import web_client
from authz.process.notification_receivers import Log, Messages, Webhook, read_secrets
from authz.process.web_client import WebClient
from tests.support.fakes import KID, FakeClock

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
LOOPBACK = networks("", ["127.0.0.0/8"])
ENTRY = AuditEntry(7, 6, AuditEvent(Action.REVOKE, "alice", "", 1_000, {"reason": "superseded"}))
EVENT = notification(Row("7-0", {"kid": KID}), KID, ENTRY, None)


class Receiver(http.server.BaseHTTPRequestHandler):
    """Answers with `status` and `body` of its server, and remembers the requests."""

    def do_POST(self):
        """Answer one request."""
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.requests.append((self.path, dict(self.headers), body))
        if self.server.status < 300:
            self.server.accepted.append((dict(self.headers), body))
        self.send_response(self.server.status)
        for name, text in self.server.headers.items():
            self.send_header(name, text)
        self.end_headers()
        for _ in range(self.server.parts):
            try:
                self.wfile.write(b"x" * 65536)
            except OSError:
                return

    def log_message(self, *_):
        """Stay silent."""


@pytest.fixture
def server():
    """A receiver on loopback."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as made:
        made.accepted = []
        made.requests, made.status, made.headers, made.parts = [], 204, {}, 0
        made.url = f"http://127.0.0.1:{made.server_port}"
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def client(allowed=LOOPBACK):
    """Return a client that may use these internal networks."""
    return WebClient(seconds=5, permits=partial(may_be_reached, allowed=allowed))


def webhook(server, tmp_path, allowed=LOOPBACK):
    """Return a signed webhook."""
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    return Webhook(client(allowed), f"{server.url}/in", tmp_path / "secret", "here", FakeClock())


async def test_a_webhook_is_signed(server, tmp_path):
    """The receiver gets the CloudEvent, and headers that its secret confirms."""
    assert await webhook(server, tmp_path).send(EVENT) == Answer(204)
    ((path, headers, body),) = server.requests
    assert (path, headers["content-type"]) == ("/in", "application/cloudevents+json")
    assert json.loads(body) == EVENT.cloud_event("here")
    seconds = int(headers["webhook-timestamp"])
    right = bodies.webhook_headers(EVENT.id, body, [bodies.signing_secret(SECRET)], seconds)
    assert {name: headers[name] for name in right} == right


async def test_a_new_secret_counts_at_once(server, tmp_path):
    """The file is read at each delivery; a file that is gone makes the event wait."""
    hook = webhook(server, tmp_path)
    (tmp_path / "secret").write_text(f"{SECRET}\nwhsec_{'A' * 32}\n")
    await hook.send(EVENT)
    assert server.requests[0][1]["webhook-signature"].count("v1,") == 2
    (tmp_path / "secret").unlink()
    with pytest.raises(Unavailable):
        await hook.send(EVENT)


async def test_an_internal_address_is_not_connected_to(server, tmp_path):
    """Without a permission no byte reaches a receiver on an internal address."""
    with pytest.raises(Unavailable, match="internal address"):
        await webhook(server, tmp_path, allowed=()).send(EVENT)
    assert server.requests == []


async def test_a_name_is_judged_by_the_address_that_is_used(server, tmp_path, monkeypatch):
    """A name that is public when it is first resolved and internal later is not connected to."""
    answers = iter(["8.8.8.8", "127.0.0.1"])
    asked, connected = [], []

    def resolve(host, port, **_):
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]

    class Socket:
        def __init__(self, *_):
            pass

        def settimeout(self, _):
            pass

        def connect(self, address):
            connected.append(address[0])
            raise ConnectionRefusedError(111, "refused")

        def close(self):
            pass

    monkeypatch.setattr(web_client.socket, "getaddrinfo", resolve)
    monkeypatch.setattr(web_client.socket, "socket", Socket)
    sender = Messages(client(()), "https://rebind.example.com", bodies.slack)
    for _ in range(2):
        with pytest.raises(Unavailable):
            await sender.send(EVENT)
    assert (asked, connected) == (["rebind.example.com"] * 2, ["8.8.8.8"])


async def test_a_redirect_is_not_followed(server, tmp_path):
    """A redirect is an answer like any other, so the event is tried again."""
    server.status, server.headers = 307, {"Location": f"{server.url}/other"}
    assert (await webhook(server, tmp_path).send(EVENT)).status == 307
    assert [path for path, _, _ in server.requests] == ["/in"]


async def test_an_endless_body_is_not_read(server, tmp_path):
    """A response of more than 256 KiB is no answer."""
    server.status, server.parts = 200, 1000
    with pytest.raises(Unavailable, match="262144 bytes"):
        await webhook(server, tmp_path).send(EVENT)


async def test_a_pause_is_read(server, tmp_path):
    """The Retry-After of a receiver reaches the delivery."""
    server.status, server.headers = 429, {"Retry-After": "30"}
    assert await webhook(server, tmp_path).send(EVENT) == Answer(429, 30)


async def test_messages(server):
    """Slack and Alertmanager get bodies of their own."""
    assert (await Messages(client(), server.url, bodies.slack).send(EVENT)).status == 204
    assert json.loads(server.requests[0][2]) == {"text": bodies.summary(EVENT)}


async def test_a_request_names_its_sender(server):
    """A request has a User-Agent: api.github.com answers none without."""
    await Messages(client(), server.url, bodies.slack).send(EVENT)
    assert server.requests[0][1]["User-Agent"] == "authz"


async def test_the_log(caplog):
    """The sink `log` writes a line of JSON."""
    with caplog.at_level(logging.INFO, "authz.events"):
        assert (await Log("here").send(EVENT)).status == 200
    assert json.loads(caplog.messages[0]) == EVENT.cloud_event("here")


@pytest.mark.parametrize("text", [None, "", "nonsense", f"{SECRET} short"])
def test_secret_files_that_cannot_be_used(tmp_path, text):
    """A file without a right secret is refused, and its content is in no message."""
    file = tmp_path / "secret"
    if text is not None:
        file.write_text(text)
    with pytest.raises(BadInput) as refused:
        read_secrets(file)
    assert "nonsense" not in str(refused.value)
