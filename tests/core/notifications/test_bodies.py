"""Events as values, and their forms for receivers."""

import base64
import hashlib
import hmac
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.audit import Action, AuditEntry, AuditEvent
from authz.core.errors import BadInput
from authz.core.notifications import bodies
from authz.core.notifications.catalogue import ALL, TYPES, example, schema
from authz.core.notifications.notification import event_id, notification, row_of
from authz.core.trail import installation
from authz.core.trail.rows import Row
from tests.support.fakes import KID, make_record

ROW = Row("7-0", {"kid": KID, "action": "revoke"})


def made(action=Action.REVOKE, note="", detail=None, record=None):
    """Return an event."""
    event = AuditEvent(action, "alice", note, 1_000, detail or {})
    return notification(ROW, KID, AuditEntry(7, 6, event), record)


def test_every_action_has_a_type():
    """Each action on a key has an event, with a name of its own."""
    assert set(TYPES) == set(Action) - set(map(Action, installation.ACTIONS))
    assert len({kind.name for kind in ALL}) == len(ALL)


def test_an_event_is_a_cloud_event():
    """The event has the attributes of CloudEvents 1.0, and members without a value are absent."""
    record = make_record(client_id="acme-web", tenant_id="acme")
    found = made(detail={"reason": "superseded", "other": 1}, record=record).cloud_event("here")
    assert found == {
        "specversion": "1.0",
        "id": event_id(ROW),
        "source": "here",
        "type": "authz.key.revoked",
        "subject": f"keys/{KID}",
        "time": "1970-01-01T00:00:01.000Z",
        "datacontenttype": "application/json",
        "data": {
            "kid": KID,
            "client": "acme-web",
            "tenant": "acme",
            "version": 7,
            "actor": "alice",
            "details": {"reason": "superseded"},
        },
    }


def test_an_update_names_its_fields_only():
    """Old and new values of fields, which may be personal, are not in the event."""
    found = made(Action.UPDATE, detail={"name": {"old": "a", "new": "b"}, "client_id": {}})
    assert found.data["details"] == {"fields": ["client_id", "name"]}


def test_the_id_follows_from_the_row():
    """The id names its row, and another row in its place gives another id."""
    assert row_of(event_id(ROW)) == "7-0"
    assert event_id(ROW) != event_id(Row("7-0", {**ROW.fields, "note": "x"}))


@given(st.text(max_size=40))
def test_other_texts_are_no_ids(text):
    """A text is refused, or it names a row."""
    try:
        assert row_of(text)
    except ValueError:
        return
    assert text.count("-") >= 2


def test_the_signature_of_standard_webhooks():
    """Each secret signs id, time and body; the receiver computes the same HMAC."""
    secrets = [b"a" * 24, b"b" * 24]
    headers = bodies.webhook_headers("msg", b"{}", secrets, 1_700)
    right = [
        base64.b64encode(hmac.new(secret, b"msg.1700.{}", hashlib.sha256).digest()).decode()
        for secret in secrets
    ]
    assert headers["webhook-signature"] == " ".join(f"v1,{one}" for one in right)
    assert (headers["webhook-id"], headers["webhook-timestamp"]) == ("msg", "1700")


def test_the_example_of_standard_webhooks():
    """The signature equals that of the specification's example."""
    secret = bodies.signing_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    headers = bodies.webhook_headers("msg_p5jXN8AQM9LWM0D4loKWxJek", body, [secret], 1614265330)
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("text", ["", "whsec_", "whsec_short", "whsec_" + "A" * 88, "whsec_é"])
def test_bad_secrets(text):
    """A secret that is not base64 of 24 to 64 bytes is refused, and not shown."""
    with pytest.raises(BadInput) as refused:
        bodies.signing_secret(text)
    assert "short" not in str(refused.value)


def test_texts_of_others_have_no_effect():
    """Markup and control characters of a note reach neither Slack nor an alert."""
    event = made(note="<!channel> &\n\x1b[31m")
    assert "&lt;!channel&gt; &amp;" in json.loads(bodies.slack(event))["text"]
    (alert,) = json.loads(bodies.alert(event, event.at))
    assert alert["annotations"]["summary"].isprintable()
    assert alert["labels"] == {
        "alertname": "AuthzKeyRevoked",
        "event": "authz.key.revoked",
        "kid": KID,
    }
    assert (alert["startsAt"], alert["endsAt"]) == (
        "1970-01-01T00:00:01.000Z",
        "1970-01-01T01:00:01.000Z",
    )


def test_a_summary_says_what_was_done():
    """A reader of Slack or of an alert sees whether a leaked key ended, or waits for a decision."""
    event = made(Action.LEAK, detail={"done": "held", "where": "https://a.example.com"})
    assert f"authz.key.leaked {KID}, held by alice" in json.loads(bodies.slack(event))["text"]
    (alert,) = json.loads(bodies.alert(event, event.at))
    assert f"authz.key.leaked {KID}, held by alice" in alert["annotations"]["summary"]


def test_a_late_alert_fires():
    """An alert that is delivered a day late ends an hour after its delivery, not before it."""
    event = made()
    (alert,) = json.loads(bodies.alert(event, event.at + 86_400_000))
    assert (alert["startsAt"], alert["endsAt"]) == (
        "1970-01-01T00:00:01.000Z",
        "1970-01-02T01:00:01.000Z",
    )


def test_examples_fit_the_schema():
    """Each example has the members that the schema requires, and no details beyond it."""
    for kind, described in zip(ALL, schema()["oneOf"], strict=True):
        shown = example(kind)
        assert set(described["required"]) <= set(shown) <= set(described["properties"])
        details = described["properties"]["data"]["properties"]["details"]["properties"]
        assert set(shown["data"]["details"]) == set(details)
