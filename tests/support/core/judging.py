"""One good key, and `judge` on variations of its record and its request."""

from authz.core.policy import judge
from authz.core.records import Secret
from tests.support.fakes import KID, NOW, make_keyring, make_record, make_request

KEYRING = make_keyring()
MINTED = KEYRING.mint("live", KID)
PRESENTED = KEYRING.parse(MINTED.text)
SECRET = Secret("1", MINTED.digest, "1", NOW)


def decide(record=None, request=None, now=NOW):
    """Judge the right key against `record` with the overrides given."""
    record = make_record(**{"secrets": (SECRET,)} | (record or {}))
    return judge(record, PRESENTED, make_request(**request or {}), now)


def reason(record=None, request=None, now=NOW):
    """The reason for which `decide` refuses, or None."""
    refusal = decide(record, request, now)
    return refusal and refusal.reason
