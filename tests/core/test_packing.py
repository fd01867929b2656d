"""A record as bytes, and back."""

from dataclasses import fields

from hypothesis import given

from authz.core.packing import pack, unpack
from authz.core.records import KeyRecord
from tests.storage.strategies import RECORDS


@given(RECORDS)
def test_a_packed_record_comes_back_equal(record: KeyRecord):
    """Every field survives, with its type."""
    back = unpack(pack(record))

    assert back == record
    assert [type(getattr(back, f.name)) for f in fields(back)] == [
        type(getattr(record, f.name)) for f in fields(record)
    ]
    assert [entry.digest for entry in back.secrets] == [entry.digest for entry in record.secrets]
