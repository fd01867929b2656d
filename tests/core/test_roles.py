"""Roles of the administration API."""

from authz.core import roles
from tests.support.docs import roles_table


def test_the_docstring_has_the_table_of_the_code():
    """The table that people read is the one that the code decides by."""
    assert roles_table.roles() in (roles.__doc__ or "")
