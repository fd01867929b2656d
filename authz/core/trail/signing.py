"""Rows of the audit trail that are about the signing keys of tokens.

Such a row has no kid and makes no version: an older version of authz skips it. The detail has the
id of the signing key.
"""

from typing import Final

from authz.core.audit import Action
from authz.core.trail.rows import Row

SIGNING_KEY: Final = "signing_key"  # in the detail
ACTIONS: Final = frozenset({Action.ROTATE_SIGNING_KEY.value, Action.REMOVE_SIGNING_KEY.value})


def is_about_signing(row: Row) -> bool:
    """Return whether a row is about a signing key. The mark is not checked."""
    return not row.kid and row.fields.get("action") in ACTIONS
