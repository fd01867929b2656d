"""Encoding of records: they are read as written, and never as less strict."""

import ipaddress
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core import fields
from authz.core.audit import Action, AuditEvent
from authz.core.errors import BadInput, Unreadable
from authz.core.limits.limit import OnOutage, parse_limits
from authz.core.records import RevocationReason, Secret
from authz.storage import encoding, schema
from tests.support.fakes import DAY, KID, NOW, make_record
from tests.support.storage.strategies import RECORDS, TEXTS

FULL = make_record(
    version=7,
    name="a name",
    project_id="proj",
    tenant_id="ten",
    plan="standard",
    limits=parse_limits("limits", ["20/s,burst=5", "1000000/month@15"]),
    on_outage=OnOutage.DENY,
    scopes=frozenset({"models:*", "files:read"}),
    secrets=(
        Secret("1", b"", "1", NOW, NOW),
        Secret("2", bytes(32), "1", NOW, NOW + DAY),
        Secret("3", bytes(range(32)), "2", NOW),
    ),
    not_before=NOW,
    expires_at=NOW + DAY,
    allowed_cidrs=(ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("2001:db8::/32")),
    allowed_hosts=("api.example.com", "*.example.org"),
    allowed_origins=("https://app.example.com", "https://*.example.org"),
    metadata={"team": "core"},
    revoked_at=NOW,
    revocation_reason=RevocationReason.SUPERSEDED,
)
NUMBERS = ["schema", "version", "created_at", "not_before", "expires_at", "revoked_at"]
NOT_NUMBERS = [
    " 5",
    "5 ",
    "+5",
    "-5",
    "5.0",
    "5e3",
    "0x5",
    "1_0",
    "\N{ARABIC-INDIC DIGIT FIVE}",
    "inf",
    "nan",
    "null",
    "9" * 5000,
    "9" * 19,
    "5\x00",
    "\udcff",
]
NEVER_EMPTY = ["schema", "kid", "version", "status", "env", "client_id", "created_at"]
NEVER_EMPTY += ["secrets", "metadata"]
# No value of a field that restricts holds one of these.
STRANGERS = ["\x00", "\t", "\n", "\r", "\x1c", "\u2003", "٣", "é", "\udcff", '"', "\\"]


def stored(record):
    """Return the hash as the store would hold it."""
    return {**encoding.encode(record), "version": str(record.version), "change_id": "c"}


def unreadable(found):
    """Return the error of `decode`, or None."""
    try:
        encoding.decode(KID, found)
    except Unreadable as cause:
        said = str(cause)
    else:
        return None
    assert KID in said
    assert len(said) < 400
    assert said.isprintable()
    return said


def restrictions(record):
    """Return all fields that decide about a request."""
    return replace(record, name="", metadata={})


@given(RECORDS)
def test_round_trip(record):
    """Every record is read as it was written, and every stored field is text."""
    written = encoding.encode(record)
    assert {type(text) for text in written.values()} == {str}
    assert written.keys() == encoding.encode(FULL).keys()
    assert encoding.decode(record.kid, stored(record)) == record


@pytest.mark.parametrize("name", [name for name in stored(FULL) if name != "change_id"])
def test_missing_field(name):
    """A record without one of its fields is unreadable; the error names record and field."""
    found = stored(FULL)
    del found[name]
    assert name in unreadable(found)


@pytest.mark.parametrize("name", NEVER_EMPTY)
def test_empty_field(name):
    """An empty field that must have content makes the record unreadable."""
    assert unreadable({**stored(FULL), name: ""})


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("text", NOT_NUMBERS)
def test_garbled_number(name, text):
    """A number consists of ASCII digits and has a bounded length."""
    assert unreadable({**stored(FULL), name: text})


@given(
    st.sampled_from([name for name in encoding.encode(FULL) if name not in {"name", "metadata"}]),
    st.sampled_from(STRANGERS),
    st.data(),
)
def test_garbled_field(name, stranger, data):
    """A strange character in a restricting field gives the same restrictions or an error."""
    text = stored(FULL)[name]
    place = data.draw(st.integers(0, len(text)))
    found = {**stored(FULL), name: text[:place] + stranger + text[place:]}
    if unreadable(found) is None:
        assert restrictions(encoding.decode(KID, found)) == restrictions(FULL)


@pytest.mark.parametrize(
    "name", ["scopes", "allowed_cidrs", "allowed_hosts", "allowed_origins", "not_before"]
)
@pytest.mark.parametrize("text", [" ", "   ", "\t", "\n", "\u2003", "\x1f"])
def test_blank_is_not_empty(name, text):
    """A blank field does not mean an absent restriction."""
    assert unreadable({**stored(FULL), name: text})


@pytest.mark.parametrize("name", ["allowed_cidrs", "allowed_hosts", "allowed_origins", "scopes"])
@pytest.mark.parametrize("change", [" {}", "{} ", "{}  {}", "{},{}", "{}\u2003{}", "{}\n{}"])
def test_garbled_list(name, change):
    """List entries are separated by exactly one space."""
    text = stored(FULL)[name]
    assert unreadable({**stored(FULL), name: change.format(text, text)})


SECRET = {"id": "1", "digest": "00" * 32, "pepper": "1", "created_at": NOW, "retires_at": None}
BAD_SECRETS = {
    "not JSON": "[",
    "no list": "{}",
    "a number": "5",
    "a text": '"abc"',
    "null": "null",
    "none": "[]",
    "an entry that is a number": "[5]",
    "an entry that is a text": '["id"]',
    "an entry that is a list": "[[]]",
    "an entry that is null": "[null]",
    "nested without end": "[" * 100_000,
    **{
        f"without {name}": json.dumps([{k: v for k, v in SECRET.items() if k != name}])
        for name in SECRET
    },
    **{
        f"{name} {value!r}": json.dumps([{**SECRET, name: value}])
        for name, value in [
            ("digest", "00"),
            ("digest", "0" * 63 + "g"),
            ("digest", None),
            ("digest", 5),
            ("id", ""),
            ("id", "1_0"),
            ("id", "٣"),
            ("id", None),
            ("id", []),
            ("pepper", ""),
            ("pepper", "12"),
            ("pepper", "é"),
            ("pepper", 1),
            ("created_at", "5"),
            ("created_at", 1.5),
            ("created_at", None),
            ("created_at", -1),
            ("retires_at", "never"),
            ("retires_at", "5"),
            ("retires_at", 1.5),
            ("retires_at", float("inf")),
            ("retires_at", float("nan")),
            ("retires_at", []),
            ("retires_at", -1),
        ]
    },
}


@pytest.mark.parametrize("case", BAD_SECRETS)
def test_garbled_secrets(case):
    """Garbled secrets make the record unreadable."""
    assert unreadable({**stored(FULL), "secrets": BAD_SECRETS[case]})


@pytest.mark.parametrize(
    "text",
    [
        *("[]", "5", "null", '"x"', "{", "[" * 100_000),
        *('{"a": 5}', '{"a": null}', '{"a": []}', '{"a": {}}', '{"": ""}'),
    ],
)
def test_garbled_metadata(text):
    """Garbled metadata makes the record unreadable."""
    assert unreadable({**stored(FULL), "metadata": text})


@pytest.mark.parametrize("number", [0, schema.SCHEMA + 1, 10**14])
def test_other_schema(number):
    """A record of an unknown schema is refused."""
    assert "schema" in unreadable({**stored(FULL), "schema": str(number)})


def test_unknown_fields_are_ignored():
    """An unknown field in the same schema changes nothing."""
    assert encoding.decode(KID, {**stored(FULL), "colour": "blue", "": "\udcff"}) == FULL


@pytest.mark.parametrize(
    ("text", "limits", "on_outage"),
    [
        ("", [], None),
        ("10/s", ["10/s"], None),
        ("10/s 1000000/month@15", ["10/s", "1000000/month@15"], None),
        ("on_outage=deny", [], OnOutage.DENY),
        ("10/s on_outage=allow", ["10/s"], OnOutage.ALLOW),
    ],
)
def test_limits(text, limits, on_outage):
    """The field holds the limits, then the key's own word for an outage."""
    record = encoding.decode(KID, {**stored(FULL), "limits": text})

    assert [str(limit) for limit in record.limits] == limits
    assert record.on_outage is on_outage
    assert encoding.encode(record)["limits"] == text


@pytest.mark.parametrize(
    "text",
    [
        *(" ", "0", "ten/s", "10/s  20/h", "10/s,20/h", "10/s 20/s", " 10/s", "10/s "),
        *("on_outage=", "on_outage=open", "on_outage=deny 10/s", "on_outage=deny on_outage=deny"),
        " ".join(f"n{index}=10/s" for index in range(9)),
    ],
)
def test_garbled_limits(text):
    """A garbled limit makes the record unreadable."""
    assert "limits" in unreadable({**stored(FULL), "limits": text})


@pytest.mark.parametrize("text", [" ", "a b", "gold\n", "x" * 129])
def test_garbled_plan(text):
    """A garbled plan makes the record unreadable."""
    assert "plan" in unreadable({**stored(FULL), "plan": text})


def test_record_of_another_kid():
    """A record copied to another kid is refused."""
    found = stored(replace(FULL, kid="0" * 16))
    assert unreadable(found)


@given(st.dictionaries(st.sampled_from(sorted(stored(FULL))) | TEXTS, TEXTS))
def test_random_hashes(found):
    """Any hash gives a record or Unreadable, and no other exception."""
    unreadable(found)


@given(st.sampled_from(sorted(stored(FULL))), TEXTS)
def test_random_fields(name, text):
    """Any text in one field gives a record or Unreadable, and no other exception."""
    unreadable({**stored(FULL), name: text})


def test_an_event_with_and_without_a_call():
    """Source and request id of a call are read as written; without a call no field is stored."""
    event = AuditEvent(Action.REVOKE, "oidc:alice", "", NOW, {}, "192.0.2.7 curl/8", "req-1")
    fields = encoding.encode_event(event, "c1", 3)
    assert encoding.decode_event(fields) == (3, event)
    bare = replace(event, source="", request_id="")
    fields = encoding.encode_event(bare, "c1", 3)
    assert encoding.decode_event(fields) == (3, bare)
    assert not fields.keys() & {"source", "request_id"}


PUBLIC = replace(make_record(public=True, plan="web"), allowed_origins=("https://app.example.com",))


def test_an_older_version_cannot_read_a_publishable_key():
    """The environment is no word that it knows, so the record is unreadable there."""
    env = encoding.encode(PUBLIC)["env"]

    assert env == "public:live"
    with pytest.raises(BadInput):  # the check of the version before
        fields.environment("env", env)


@pytest.mark.parametrize(
    "changed",
    [
        {"allowed_origins": ""},
        {"plan": ""},
        {"env": "public:"},
        {"env": "public:public:live"},
        {"env": "Public:live"},
        {"env": "public: live"},
    ],
)
def test_a_damaged_publishable_key_is_unreadable(changed):
    """A lost restriction, or a garbled kind, never becomes a secret key or a wider one."""
    found = encoding.encode(PUBLIC) | {"version": "7"}

    assert encoding.decode(KID, found).public
    with pytest.raises(Unreadable):
        encoding.decode(KID, found | changed)
