"""Any sequence of changes to one key keeps the promises made about keys."""

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from authz.core import changes, new_keys, secret_changes
from authz.core.changes import Author, KeyChange, Refused, Unchanged
from authz.core.new_keys import KeySpec
from authz.core.policy import judge
from authz.core.records import (
    MAX_LINEAGE,
    MAX_LIVE_SECRETS,
    RETIRED_DIGEST_KEPT_MS,
    RevocationReason,
    Status,
)
from authz.core.secret_changes import roll_back
from tests.support.fakes import DAY, NOW, make_keyring, make_request

KEYRING = make_keyring()
OPENS, RETIRED, UNKNOWN = None, "secret_retired", "wrong_secret"


class KeyMachine(RuleBasedStateMachine):
    """One key, changed at random; beside it what its holders were told.

    `promised`: for every key text ever handed out, when it was to stop working, None for never.
    """

    def __init__(self):
        super().__init__()
        self.now = NOW
        self.asked = 0
        self.promised = {}

    @initialize(life_ms=st.sampled_from([None, DAY, 90 * DAY]))
    def issue(self, life_ms):
        """A key begins."""
        self.life_ms = life_ms
        minted = KEYRING.mint("live")
        spec = KeySpec(client_id="acme-web", env="live", life_ms=life_ms)
        change = new_keys.issue(spec, minted, self.author(), self.now)
        assert change.base_version == 0
        self.record = replace(change.record, version=1)
        self.promised[minted.text] = None
        self.kept = [minted.text]
        self.disabled = self.revoked = False

    def author(self):
        """Somebody, with a fresh change id."""
        self.asked += 1
        return Author(f"change-{self.asked}", "alice")

    def take(self, outcome):
        """Keep what a change makes; True when there was one."""
        if not isinstance(outcome, KeyChange):
            return False
        assert outcome.base_version == self.record.version
        assert outcome.id == f"change-{self.asked}"
        self.record = replace(outcome.record, version=self.record.version + 1)
        return True

    @rule(days=st.sampled_from([0, 1, 6, 7, 30, 31]), ms=st.sampled_from([0, 1]))
    def wait(self, days, ms):
        """Time passes."""
        self.now += days * DAY + ms

    @rule(grace_ms=st.sampled_from([0, 1, DAY, 7 * DAY]))
    def rotate(self, grace_ms):
        """A new secret, unless the key is over or an overlap lasts."""
        minted = KEYRING.mint("live", self.record.kid)
        overlap = len(self.working()) >= MAX_LIVE_SECRETS

        outcome = secret_changes.rotate(self.record, minted, grace_ms, self.author(), self.now)

        if self.record.expires_at is not None and self.now >= self.record.expires_at:
            grace_ms = 0  # what was dead is not revived
        if self.revoked or (overlap and grace_ms):
            assert isinstance(outcome, Refused)
            return
        assert self.take(outcome)
        if len(self.kept) == MAX_LINEAGE:
            self.kept.remove(next(text for text in self.kept if text not in self.working()))
        for text, ends in self.promised.items():
            if ends is None or ends > self.now:
                over = self.now + grace_ms
                self.promised[text] = min(over, self.record.expires_at or over)
        self.promised[minted.text] = None
        self.kept.append(minted.text)
        again = secret_changes.rotate(self.record, minted, grace_ms, self.author(), self.now)
        assert isinstance(again, Unchanged)

    def working(self):
        """Return the texts that work, the oldest first."""
        return [text for text, ends in self.promised.items() if ends is None or ends > self.now]

    @rule()
    def hold(self):
        """Both secrets work without an end of their own."""
        working = self.working()

        outcome = secret_changes.hold(self.record, "vault", self.author(), self.now)

        if self.revoked or len(working) < MAX_LIVE_SECRETS:
            assert isinstance(outcome, Refused)
            return
        assert self.take(outcome) is (self.promised[working[0]] is not None)
        self.promised[working[0]] = None

    @rule()
    def roll_back(self):
        """The older of two secrets stays, the newer one ends."""
        working, before = self.working(), self.record

        outcome = roll_back(self.record, self.author(), self.now)

        if self.revoked or len(working) < MAX_LIVE_SECRETS:
            assert isinstance(outcome, Refused)
            return
        assert self.take(outcome)
        overlap = self.promised[working[0]]
        self.promised[working[0]], self.promised[working[1]] = None, self.now
        if self.life_ms is not None:
            begun = self.record.newest_secret.created_at
            ends = before.expires_at
            if overlap is not None:
                ends = min(ends, max(begun + self.life_ms, overlap))
            self.life_ms = ends - begun

    @rule(reason=st.sampled_from(RevocationReason))
    def revoke(self, reason):
        """The end, once."""
        outcome = changes.revoke(self.record, reason, self.author(), self.now)

        assert self.take(outcome) is not self.revoked
        self.revoked = True

    @rule(on=st.booleans())
    def turn(self, on):
        """Enabled or disabled, unless it is over."""
        turn = changes.enable if on else changes.disable

        outcome = turn(self.record, self.author(), self.now)

        changed = self.take(outcome)
        assert changed is (not self.revoked and self.disabled is on)
        assert isinstance(outcome, Refused) is self.revoked
        self.disabled = self.disabled if self.revoked else not on

    @invariant()
    def status_is_what_was_done(self):
        """Revoked for ever, else disabled or not."""
        status = Status.DISABLED if self.disabled else Status.ACTIVE
        assert self.record.status is (Status.REVOKED if self.revoked else status)
        assert (self.record.revoked_at is not None) is self.revoked

    @invariant()
    def lineage_is_bounded_and_in_order(self):
        """At most five secrets, two live, the newest live; ids count up."""
        secrets = self.record.secrets
        assert len(secrets) <= MAX_LINEAGE
        assert sum(entry.is_live(self.now) for entry in secrets) <= MAX_LIVE_SECRETS
        assert self.record.newest_secret.is_live(self.now)
        ids = [int(entry.id) for entry in secrets]
        assert ids == sorted(set(ids))

    @invariant()
    def every_holder_gets_what_was_promised(self):
        """Each key text works as long as its holder was told, and is told what happened after."""
        record = replace(self.record, status=Status.ACTIVE, expires_at=None)
        for text, ends in self.promised.items():
            refusal = judge(record, KEYRING.parse(text), make_request(), self.now)
            found = refusal and refusal.reason.value
            if ends is None or self.now < ends:
                assert found is OPENS
            elif text in self.kept and self.now < ends + RETIRED_DIGEST_KEPT_MS:
                assert found == RETIRED
            else:
                assert found == UNKNOWN

    @invariant()
    def life_is_what_was_issued(self):
        """The newest secret expires one life after it was made."""
        newest = self.record.newest_secret
        expected = None if self.life_ms is None else newest.created_at + self.life_ms
        assert self.record.expires_at == expected


KeyMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
TestKeyMachine = KeyMachine.TestCase
