"""`authz reseal`: sealing, its report, and records that it refuses."""

import pytest

from tests.support.cli.in_process import refusal
from tests.support.storage import stored


def unseal(runner, *kids):
    """Make the store one of an earlier version: no mark, and no seals on these records."""
    runner.valkey.admin.hdel(stored.META, "sealed")
    for kid in kids:
        runner.valkey.admin.hdel(stored.key(kid), "seal")


def test_a_store_of_an_earlier_version(runner):
    """The first run seals and marks, the second has nothing to do; both say so."""
    kids = [runner.issue()[0] for _ in range(2)]
    unseal(runner, *kids)
    assert "records without a seal are accepted" in runner.run("doctor").out
    rehearsed = runner.run("reseal", "--dry-run", "--json").document
    assert (rehearsed["sealed"], rehearsed["marked"], rehearsed["dry_run"]) == (2, False, True)
    done = runner.run("reseal")
    assert done.out == ("2 records looked at, 2 sealed\nrecords without a seal are refused\n")
    assert (done.code, done.err) == (0, "")
    again = runner.run("reseal", "--json").document
    assert (again["looked_at"], again["sealed"], again["marked"]) == (2, 0, True)
    assert again["refused"] == []
    assert "required; all of a sample of 2 are right" in runner.run("doctor").out


def test_a_record_with_a_wrong_seal(runner):
    """A record with a wrong seal is named, with exit code 1, until somebody accepts it."""
    kid, _ = runner.issue()
    runner.valkey.admin.hset(stored.key(kid), "client_id", "mallory")
    shown = runner.run("keys", "show", kid)
    assert (shown.code, "its seal is wrong" in shown.err) == (3, True)
    done = runner.run("reseal")
    assert done.code == 1
    assert (
        f"refused: record {kid}: its seal is wrong: it was changed without the pepper" in done.out
    )
    document = runner.run("reseal", "--json").document
    assert [one["kid"] for one in document["refused"]] == [kid]
    accepted = runner.run("reseal", "--accept", kid, "--note", "it was me")
    assert (accepted.code, accepted.out) == (0, f"{kid}: sealed as it is, active\n")
    assert runner.run("reseal").code == 0
    assert runner.run("keys", "show", kid, "--json").document["client_id"] == "mallory"
    assert "it was me" in runner.run("keys", "history", kid).out


def test_settings_that_require_seals(runner, monkeypatch):
    """With keys.require_seals a record without a seal is refused in an unmarked store, too."""
    kid, _ = runner.issue()
    unseal(runner, kid)
    assert runner.run("keys", "show", kid).code == 0
    monkeypatch.setenv("AUTHZ_KEYS__REQUIRE_SEALS", "true")
    assert "it has no seal" in runner.run("keys", "show", kid).err
    assert runner.run("reseal").code == 1


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--accept", "nonsense"), "--accept: "),
        (("--accept", "0" * 16, "--dry-run"), "--dry-run: cannot be with --accept"),
    ],
)
def test_wrong_usage(runner, arguments, problem):
    """A kid that is none, and a dry run of --accept, are refused."""
    assert problem in refusal(runner.run("reseal", *arguments))


def test_accepting_what_needs_no_acceptance(runner):
    """A key that does not exist, and one whose seal is right, change nothing."""
    kid, _ = runner.issue()
    assert runner.run("reseal", "--accept", "0" * 16).code == 1
    done = runner.run("reseal", "--accept", kid)
    assert done.code == 1
    assert f"the seal of {kid} is right" in done.err


@pytest.mark.parametrize("has_seal", [True, False])
def test_a_backup_with_a_wrong_seal(runner, has_seal):
    """A restore keeps the seals, and names a record that stays refused."""
    good, bad = runner.issue()[0], runner.issue()[0]
    runner.valkey.admin.hset(stored.key(bad), "client_id", "mallory")
    if not has_seal:
        runner.valkey.admin.hdel(stored.key(bad), "seal")
    assert runner.run("backup", "file").code == 0
    runner.valkey.admin.flushall()
    done = runner.run("restore", "file")
    assert f"1 records have a wrong seal or none, and stay refused, the first is {bad}" in done.out
    assert runner.run("keys", "show", good).code == 0
    assert runner.run("keys", "show", bad).code == 3
    assert runner.valkey.admin.hget(stored.META, "sealed") == "1"
