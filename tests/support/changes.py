"""Changes of keys, as a lifecycle or an import makes them."""

import itertools

from authz.core import new_keys
from authz.core.audit import Action, AuditEvent
from authz.core.changes import Author, KeyChange
from authz.core.new_keys import KeySpec
from tests.support.fakes import KID, NOW, make_keyring

KEYRING = make_keyring()
DIGESTS = [b"a" * 32, b"b" * 32, b"c" * 32]
_ids = itertools.count()


def change_to(record, base_version=0, change_id=None):
    """A change that makes the record what it is here."""
    event = AuditEvent(Action.ISSUE, "test", "", NOW, {})
    return KeyChange(change_id or f"c{next(_ids)}", base_version, record, event)


def issued(kid=KID):
    """A change that makes a key."""
    spec = KeySpec(client_id="acme-web", env="live", life_ms=None)
    return new_keys.issue(spec, KEYRING.mint("live", kid), author(), NOW)


def imported(kid=KID, digests=DIGESTS):
    """A change that imports a key."""
    spec = KeySpec(client_id="acme-web", env="live", life_ms=None)
    return new_keys.import_key(spec, kid, [("1", digest) for digest in digests], author(), NOW)


def author():
    """An author of changes, with a fresh change id."""
    return Author(f"c{next(_ids)}", "test")
