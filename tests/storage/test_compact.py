"""The compact form of records: every record has one, and a damaged one is refused."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz.core.errors import Unreadable
from authz.core.seals import Seal
from authz.storage import compact, encoding
from authz.storage.field_codec import read_length
from tests.support.fakes import KID, NOW, make_keyring, make_record
from tests.support.storage.altering import altered_bytes, mixed, rearranged
from tests.support.storage.strategies import RECORDS, TEXTS

SEALS = make_keyring().record_seals
CHANGE_IDS = st.binary(min_size=16, max_size=16).map(bytes.hex) | st.text(
    st.characters(codec="utf-8"), min_size=1, max_size=40
)
FIELD_NAMES = TEXTS.filter(lambda name: name and name not in stored(make_record()))
UNKNOWN = st.dictionaries(FIELD_NAMES, TEXTS, max_size=3)
PLACES = st.integers(0, 10**6)


def stored(record, change_id="c" * 32):
    """Return all fields of a stored record, its seal included."""
    version = str(record.version)
    fields = {**encoding.encode(record), "version": version, "change_id": change_id}
    return {**fields, "seal": SEALS.seal(record.kid, fields)}


def is_refused(kid, text):
    """Return whether the record of a text may not be used: unreadable, or with a bad seal."""
    try:
        return SEALS.check(kid, compact.unpack(kid, text)) is not Seal.VALID
    except Unreadable as cause:
        said = str(cause)
    assert kid in said
    assert len(said) < 200
    assert said.isprintable()
    return True


@given(RECORDS, CHANGE_IDS)
def test_round_trip(record, change_id):
    """The compact form of any record gives all its fields back, and the record."""
    fields = stored(record, change_id)
    text = compact.pack(fields)
    assert compact.unpack(record.kid, text) == fields
    assert encoding.decode(record.kid, compact.unpack(record.kid, text)) == record
    assert not is_refused(record.kid, text)


@given(RECORDS, st.data())
def test_unknown_fields_are_kept(record, data):
    """Fields of a newer version are kept as they are."""
    try:
        unknown = {
            name.encode(errors="surrogateescape").decode(errors="surrogateescape"): text.encode(
                errors="surrogateescape"
            ).decode(errors="surrogateescape")
            for name, text in data.draw(UNKNOWN).items()
        }
    except UnicodeEncodeError:  # not the bytes of any store
        return
    fields = stored(replace(record, unknown=unknown))
    assert compact.unpack(record.kid, compact.pack(fields)) == fields


def test_a_record_without_change_id_and_seal():
    """A record of a version without seals and change ids stays without them."""
    fields = stored(make_record(version=7))
    del fields["seal"], fields["change_id"]
    assert compact.unpack(KID, compact.pack(fields)) == fields


def test_a_seal_for_another_version_is_left_out():
    """A seal for another version proves nothing: an earlier version has changed the record."""
    fields = stored(make_record(version=7))
    found = compact.unpack(KID, compact.pack({**fields, "version": "8"}))
    assert "seal" not in found
    assert found["version"] == "8"


@given(RECORDS, PLACES)
def test_a_cut_record_is_refused(record, place):
    """A record that lacks any number of bytes at its end is refused."""
    text = compact.pack(stored(record))
    assert is_refused(record.kid, text[: place % len(text)])


@given(RECORDS, PLACES, st.integers(1, 255))
def test_a_changed_byte_is_refused(record, place, by):
    """A sealed record with any changed byte is refused: unreadable, or its seal is wrong."""
    text = bytearray(compact.pack(stored(record)))
    text[place % len(text)] ^= by
    assert is_refused(record.kid, bytes(text))


def test_every_changed_byte_is_refused():
    """The same for each byte of one record and each value of the byte."""
    record = make_record(version=7, name="n", expires_at=NOW, metadata={"a": "b"})
    text = compact.pack(stored(record))
    for place in range(len(text)):
        for value in range(256):
            if value != text[place]:
                assert is_refused(KID, text[:place] + bytes([value]) + text[place + 1 :])


@settings(max_examples=20)
@given(RECORDS, RECORDS)
def test_any_record_that_is_put_together_anew(record, other):
    """Any record with a flipped bit, a cut, moved fields or parts of another record is refused."""
    text, foreign = (compact.pack(stored(one)) for one in (record, other))
    for name, mutant in (*altered_bytes(text), *rearranged(text), *mixed(text, foreign)):
        is_older = mutant == foreign and other.kid == record.kid  # a right seal, of another time
        assert mutant == text or is_older or is_refused(record.kid, mutant), name


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes(text, is_headed):
    """Any bytes are the compact form of what they are read as, or they are unreadable."""
    if is_headed:
        text = compact.pack(stored(make_record()))[: compact.HEAD] + text
    try:
        found = compact.unpack(KID, text)
    except Unreadable:
        return
    assert compact.pack(found) == text


def test_a_length_without_an_end():
    """A length is refused after nine bytes, so a megabyte of them does not stop a sidecar."""

    class Counted(bytes):
        reads = 0

        def __getitem__(self, place):
            self.reads += 1
            return super().__getitem__(place)

    text = Counted(b"\xff" * 1000)
    with pytest.raises(ValueError, match="damaged"):
        read_length(text, 0)
    assert text.reads == 9


def test_a_newer_form_says_so():
    """The form of a newer version is refused with the advice to upgrade."""
    text = compact.pack(stored(make_record()))
    with pytest.raises(Unreadable, match=r"form 2.*upgrade"):
        compact.unpack(KID, bytes([2]) + text[1:])


@pytest.mark.parametrize("name", encoding.encode(make_record()))
def test_a_missing_field_has_no_compact_form(name):
    """A record that lacks a field is not packed, so it stays unreadable as it is."""
    fields = stored(make_record())
    del fields[name]
    with pytest.raises(ValueError, match=name):
        compact.pack(fields)


@pytest.mark.parametrize(
    "damage",
    [
        {"created_at": "007"},
        {"created_at": "x"},
        {"version": "x"},
        {"version": str(1 << 56)},
        {"secrets": "null"},
        {"secrets": "[1]"},
        {"secrets": '[{"id": "1"}]'},
        {"secrets": "[" * 100_000},
        {"secrets": '[{"id": Infinity, "digest": "", "pepper": "1", "retires_at": null}]'},
        {"seal": "1:1:x"},
        {"seal": "\udcff:1:" + "A" * 22},
        {"": "x"},
    ],
)
def test_a_garbled_field_has_no_compact_form(damage):
    """A record with a garbled field is not packed: no damage may look repaired."""
    with pytest.raises(ValueError, match=r"."):
        compact.pack({**stored(make_record(version=1)), **damage})


def test_secrets_of_another_writer_have_no_compact_form():
    """Secrets are packed only if this version would write the same text again."""
    fields = stored(make_record())
    text = json.dumps(json.loads(fields["secrets"]), indent=1)
    with pytest.raises(ValueError, match="secrets"):
        compact.pack({**fields, "secrets": text})


def test_size():
    """A plain record with its seal takes less than 200 bytes."""
    record = make_record(project_id="web", tenant_id="acme", expires_at=NOW, version=10**6)
    assert len(compact.pack(stored(record))) < 200
