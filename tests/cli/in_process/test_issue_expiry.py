"""`authz keys issue --expires-at`."""

import pytest


@pytest.mark.parametrize(
    ("options", "end"),
    [
        (("--expires-at", "2099-12-31T23:00:00+01:00"), "2099-12-31T22:00:00.000Z"),
        (("--expires-at", "never"), None),
        (("--expires-in", "never"), None),
    ],
)
def test_the_end_of_a_new_key(runner, options, end):
    """A key ends at the moment that is given, to the millisecond."""
    issued = runner.run("keys", "issue", "--client", "a", *options, "--json")
    assert issued.document["record"]["expires_at"] == end


def test_an_end_that_is_past(runner):
    """A key that would be over at once is not issued."""
    outcome = runner.run("keys", "issue", "--client", "a", "--expires-at", "2020-01-01T00:00:00Z")
    assert outcome.code == 2
    assert "would expire before it begins" in outcome.error
