"""The field outage_grace in the store."""

import pytest

from authz.core.errors import Unreadable
from authz.storage import encoding
from tests.support.fakes import KID, make_record


def fields_with(text):
    """Return a record's fields with this text for the grace."""
    return encoding.encode(make_record()) | {"version": "1", "outage_grace": text}


@pytest.mark.parametrize(("text", "grace"), [("", None), ("0", 0), ("86400000", 86_400_000)])
def test_none_and_0_are_told_apart(text, grace):
    """An empty field means the sidecar's grace, 0 means none."""
    assert encoding.decode(KID, fields_with(text)).outage_grace == grace


@pytest.mark.parametrize("text", ["-1", "0s", "86400001", "1e3", " 0"])
def test_a_grace_that_makes_no_sense_makes_the_record_unreadable(text):
    """An invalid grace makes the record unreadable, so it does not become longer."""
    with pytest.raises(Unreadable, match="outage_grace"):
        encoding.decode(KID, fields_with(text))
