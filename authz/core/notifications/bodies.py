"""Bodies and headers of deliveries: CloudEvents, Standard Webhooks, Slack and Alertmanager."""

import base64
import binascii
import hmac
import json
from collections.abc import Mapping, Sequence
from typing import Final

from authz.core.errors import BadInput
from authz.core.notifications.notification import Notification
from authz.core.times import rfc3339

MIN_SECRET: Final = 24  # bytes, by Standard Webhooks
MAX_SECRET: Final = 64
MAX_AGE: Final = 300  # seconds between the time of a delivery and ours
MAX_ID: Final = 256  # characters
MAX_SIGNATURES: Final = 2000  # characters
WEBHOOK_HEADERS: Final = ("webhook-id", "webhook-timestamp", "webhook-signature")
_PREFIX: Final = "whsec_"
_ALERT_MS: Final = 3_600_000
_MAX_TEXT: Final = 300
_SLACK: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def cloud_event(event: Notification, source: str) -> bytes:
    """Return an event as one JSON document."""
    return json.dumps(event.cloud_event(source), separators=(",", ":")).encode()


def signing_secret(text: str) -> bytes:
    """Return the bytes of a secret such as `whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw`.

    Raises BadInput, without the text, if it is not base64 of 24 to 64 bytes.
    """
    try:
        secret = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        secret = b""
    if not MIN_SECRET <= len(secret) <= MAX_SECRET:
        raise BadInput("secret_file", f"a line is {_PREFIX} and base64 of 24 to 64 bytes")
    return secret


def webhook_headers(
    event_id: str, body: bytes, secrets: Sequence[bytes], seconds: int
) -> dict[str, str]:
    """Return the headers of Standard Webhooks 1.0, with one signature for each secret.

    seconds: the time of this delivery, since the epoch.
    """
    signed = f"{event_id}.{seconds}.".encode() + body
    digests = (hmac.digest(secret, signed, "sha256") for secret in secrets)
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(seconds),
        "webhook-signature": " ".join(f"v1,{base64.b64encode(one).decode()}" for one in digests),
    }


def is_signed(headers: Mapping[str, str], body: bytes, secrets: Sequence[bytes], now: int) -> bool:
    """Return whether the headers of a delivery are right for one of the secrets.

    headers: the three of `webhook_headers`, by name. now: seconds since the epoch. False if the
    timestamp is more than MAX_AGE (300 s) away from it.
    """
    event_id, timestamp, given = (headers.get(name, "") for name in WEBHOOK_HEADERS)
    if not (0 < len(event_id) <= MAX_ID and event_id.isascii() and len(given) <= MAX_SIGNATURES):
        return False
    if not (timestamp.isascii() and timestamp.isdecimal() and len(timestamp) < len(str(2**63))):
        return False
    seconds = int(timestamp)
    if abs(seconds - now) > MAX_AGE:
        return False
    right = webhook_headers(event_id, body, secrets, seconds)["webhook-signature"].split(" ")
    return any(
        hmac.compare_digest(one.encode(), other.encode())
        for one in right
        for other in given.split(" ")
    )


def summary(event: Notification) -> str:
    """Return an event as one line of text without control characters.

    It has what was done with a leaked or unusual key: `held` asks the reader to decide.
    """
    data = event.data
    done = data.get("details", {}).get("done")
    result = f", {done}" if done else ""
    whose = f" of {data['client']}" if data.get("client") else ""
    note = f": {data['note']}" if data.get("note") else ""
    actor = f" by {data['actor']}" if data.get("actor") else ""
    text = f"{event.type} {event.kid}{whose}{result}{actor}{note}"
    return "".join(one if one.isprintable() else " " for one in text)[:_MAX_TEXT]


def slack(event: Notification) -> bytes:
    """Return the message of an incoming webhook of Slack. Markup in texts has no effect."""
    return json.dumps({"text": summary(event).translate(_SLACK)}).encode()


def alert(event: Notification, now: int) -> bytes:
    """Return an alert for `/api/v2/alerts` of Alertmanager. It resolves itself an hour after `now`.

    now: ms since the epoch. Alertmanager tells nobody of an alert that ends before it arrives, so
    one that is delivered late, or once more, ends later than an hour after its event.
    All alerts have the labels `alertname`, `event` and `kid`.
    """
    name = "".join(part.title() for part in event.type.replace(".", "_").split("_"))
    labels = {"alertname": name, "event": event.type, "kid": event.kid}
    labels |= {
        name: str(event.data[name])
        for name in ("client", "project", "tenant")
        if event.data.get(name)
    }
    annotations = {"summary": summary(event), "event_id": event.id}
    one = {
        "labels": labels,
        "annotations": annotations,
        "startsAt": rfc3339(event.at),
        "endsAt": rfc3339(max(event.at, now) + _ALERT_MS),
    }
    return json.dumps([one]).encode()
