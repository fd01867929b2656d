"""No form of any value shows key text, a digest or a pepper."""

import pprint

from authz.core import new_keys, secret_changes
from authz.core.changes import Author
from authz.core.new_keys import KeySpec
from authz.flows.lifecycle import Changed
from tests.support.fakes import DAY, NOW, issue_record, make_keyring, make_pepper, make_request


def shown_forms(thing):
    """Every way in which a log or a message could come to show a thing."""
    forms = [repr(thing), str(thing), f"{thing}", f"{thing!a}", "%s" % (thing,)]  # noqa: UP031
    return " ".join([*forms, pprint.pformat(thing), repr([thing]), repr({"thing": thing})])


def secret_parts(minted, pepper):
    """Everything that must not be seen: key text, its body, its digest, the keys of the pepper."""
    body = minted.text.rpartition("_")[2]
    hidden = [minted.digest, pepper.tag_key, pepper.digest_key, b"1" * 32]
    return [minted.text, body, body[1:44], *map(repr, hidden), *(raw.hex() for raw in hidden)]


def test_nothing_shows_a_secret():
    """No form of any value shows key text, a digest or a pepper."""
    keyring, pepper = make_keyring(), make_pepper()
    record, _ = issue_record(keyring)
    minted = keyring.mint("live", record.kid)
    presented = keyring.parse(minted.text)
    author = Author("change-1", "alice")
    change = secret_changes.rotate(record, minted, DAY, author, NOW)
    spec = KeySpec(client_id="acme-web", env="live", life_ms=None)
    things = [
        pepper,
        keyring,
        minted,
        presented,
        change,
        change.record,
        change.record.newest_secret,
        change.event,
        new_keys.issue(spec, minted, author, NOW),
        make_request(
            credential=presented,
            path=f"/v1/models?api_key={minted.text}",
            headers={"x-api-key": minted.text},
        ),
        Changed(change.record, minted.text),
    ]

    seen = [
        (type(thing).__name__, part)
        for thing in things
        for part in secret_parts(minted, pepper)
        if part in shown_forms(thing)
    ]

    assert seen == []
    assert minted.text in shown_forms(minted.text)  # the search itself finds what is there
    assert repr(minted.digest) in shown_forms([minted.digest])


def test_public_parts_are_shown():
    """The kid is public, so logs can tell keys apart."""
    keyring = make_keyring()
    record, text = issue_record(keyring)

    assert repr(keyring.parse(text)) == f"Presented(kid='{record.kid}')"
    assert repr(Changed(record, text)) == f"Changed(kid='{record.kid}', version=1)"
