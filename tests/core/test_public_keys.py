"""Publishable keys: the conditions that hold for every one of them."""

import pytest

from authz.core import changes
from authz.core.changes import Author, KeyChange
from authz.core.errors import BadInput
from authz.core.limits.limit import parse_limits
from authz.core.new_keys import KeySpec, issue
from authz.core.records import RevocationReason
from authz.storage import encoding
from tests.support.fakes import NOW, make_keyring, make_record

AUTHOR = Author("change", "somebody")
ORIGINS = ("https://app.example.com",)
LIMITS = parse_limits("limits", ["5/s"])
RING = make_keyring()


def issued(**given):
    """Return the record of a new publishable key."""
    spec = KeySpec(client_id="acme", env="live", life_ms=None, public=True, **given)
    return issue(spec, RING.mint("live", public=True), AUTHOR, NOW).record


def test_it_needs_an_origin():
    """Without an origin it would work from every page."""
    with pytest.raises(BadInput, match="--origin: a publishable key needs an allowed origin"):
        issued()


def test_it_gets_low_limits():
    """A key without limits and plan gets 10/s and 10000/d."""
    assert list(map(str, issued(allowed_origins=ORIGINS).limits)) == ["10/s", "10000/d"]


@pytest.mark.parametrize("given", [{"limits": LIMITS}, {"plan": "web"}])
def test_limits_that_are_given_stay(given):
    """Limits of its own or of a plan replace the usual ones."""
    assert issued(allowed_origins=ORIGINS, **given).limits == given.get("limits", ())


def test_a_secret_key_gets_no_limits():
    """The rules are for publishable keys alone."""
    spec = KeySpec(client_id="acme", env="live", life_ms=None)

    assert issue(spec, RING.mint("live"), AUTHOR, NOW).record.limits == ()


@pytest.mark.parametrize(
    ("wanted", "problem"),
    [({"allowed_origins": ()}, "--origin"), ({"limits": ()}, "--limit")],
)
def test_an_update_keeps_the_conditions(wanted, problem):
    """The last origin and the last limit cannot be taken away."""
    record = make_record(public=True, allowed_origins=ORIGINS, limits=LIMITS)

    with pytest.raises(BadInput) as refused:
        changes.update(record, wanted, AUTHOR, NOW)
    assert refused.value.field == problem


REPORTED = parse_limits("limits", ["5/s,enforce=false", "trial=9/min,enforce=false"])


@pytest.mark.parametrize("plan", ["", "web"])
def test_a_limit_that_is_only_reported_is_none(plan):
    """A new publishable key needs a limit that is enforced; one of them is enough."""
    with pytest.raises(BadInput, match="--limit: a publishable key needs a limit that is enforced"):
        issued(allowed_origins=ORIGINS, limits=REPORTED, plan=plan)

    assert issued(allowed_origins=ORIGINS, limits=REPORTED + LIMITS).limits == REPORTED + LIMITS


def test_a_stored_key_with_reported_limits_can_be_changed_but_not_so():
    """Other fields of a key of an earlier version can be set; new limits have to be enforced."""
    record = make_record(public=True, allowed_origins=ORIGINS, limits=REPORTED)

    assert isinstance(changes.update(record, {"name": "shop"}, AUTHOR, NOW), KeyChange)
    assert isinstance(changes.update(record, {"limits": LIMITS}, AUTHOR, NOW), KeyChange)
    with pytest.raises(BadInput, match="enforced"):
        changes.update(record, {"limits": REPORTED[:1]}, AUTHOR, NOW)
    stored = {**encoding.encode(record), "version": "1"}
    assert encoding.decode(record.kid, stored).limits == REPORTED


def test_operations_that_remove_rights_work_on_a_damaged_record():
    """A record without origins can be disabled and revoked."""
    record = make_record(public=True)

    for outcome in (
        changes.disable(record, AUTHOR, NOW),
        changes.revoke(record, RevocationReason.UNSPECIFIED, AUTHOR, NOW),
    ):
        assert isinstance(outcome, KeyChange)
