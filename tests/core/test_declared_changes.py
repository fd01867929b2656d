"""New keys of a file of keys."""

import pytest

from authz.core.declared_changes import new_key
from authz.core.errors import BadInput
from tests.support.fakes import NOW, make_record


def test_the_end_of_a_declared_key_is_exact():
    """The end is the time of the file, however long the key takes to be made."""
    end = NOW + 86_400_000
    assert new_key(make_record(expires_at=end), NOW).expires_at == end
    assert new_key(make_record(expires_at=end), NOW).life_ms is None
    assert new_key(make_record(), NOW).expires_at is None


def test_a_declared_key_that_is_over_is_not_made():
    """An end that is past is refused."""
    with pytest.raises(BadInput, match="over before"):
        new_key(make_record(expires_at=NOW), NOW)
