"""The receivers that the settings name, over a real socket."""

import http.server
import json
import threading

import pytest

from authz.core.notifications.notification import Notification
from authz.core.times import rfc3339
from authz.settings.model import load
from authz.wiring.notifications import receiver
from tests.support.fakes import KID, FakeClock

DAY = 86_400_000


class Alertmanager(http.server.BaseHTTPRequestHandler):
    """Remembers the alerts that arrive."""

    def do_POST(self):
        """Take one request."""
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.alerts.append((self.path, json.loads(body)))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        """Stay silent."""


@pytest.fixture
def alertmanager():
    """An Alertmanager on loopback."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Alertmanager) as made:
        made.alerts = []
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


async def test_an_event_that_waited_for_a_day_is_an_alert_that_fires(tmp_path, alertmanager):
    """Alertmanager tells nobody of an alert whose end is over, as after an outage of its own."""
    url = f"http://127.0.0.1:{alertmanager.server_port}"
    file = tmp_path / "authz.yaml"
    file.write_text(
        "events: {allowed_networks: [127.0.0.0/8],"
        f" sinks: {{a: {{kind: alertmanager, url: '{url}/am/'}}}}}}"
    )
    settings, clock = load(file, {}, {}), FakeClock()
    event = Notification("7-0-abc", "authz.key.leaked", KID, clock.wall_ms() - DAY)
    answer = await receiver(settings, settings.events.sinks["a"], clock).send(event)
    assert answer.status == 200
    ((path, (alert,)),) = alertmanager.alerts
    assert path == "/am/api/v2/alerts"
    assert alert["startsAt"] == rfc3339(event.at)
    assert alert["endsAt"] == rfc3339(clock.wall_ms() + DAY // 24)
