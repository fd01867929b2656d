"""Wrong clocks: a sidecar allows no expired key and refuses no good one for good."""

import asyncio
import random
from dataclasses import replace

import pytest

from authz.core.decision import Allow, Reason
from authz.core.records import Secret
from authz.core.store_clock import StoreClock, Window
from authz.core.tokens.text import LEEWAY
from authz.flows.check import Checker
from tests.support.caches import filled
from tests.support.fakes import (
    KID,
    NOW,
    FakeClock,
    RecordingProbe,
    issue_record,
    make_keyring,
    make_request,
)
from tests.support.flows.rigs import Vouched
from tests.support.tokens import ISSUER, SECONDS, GateRig, claims, issue

RING = make_keyring(issuer=ISSUER)
YEAR = 365 * 86_400_000
LIFE = 60_000
ROUND_TRIP = 0.004
LEASE = 1.0


class OnlyOurs(StoreClock):
    """Mutant: it does not look at the store's clock."""

    def is_clear(self, _turns, _wall_ms):
        return False

    def window(self, wall_ms, _monotonic):
        return Window(wall_ms, wall_ms)


class OnlyTheStores(StoreClock):
    """Mutant: it trusts the store's clock alone."""

    def is_clear(self, _turns, _wall_ms):
        return False

    def window(self, wall_ms, monotonic):
        offset = self.offset(wall_ms, monotonic)
        return Window(wall_ms + offset.low_ms, wall_ms + offset.low_ms) if offset else offset


class Machines:
    """True time, a sidecar's clock and the store's clock. At most one of the clocks is wrong."""

    def __init__(self, seed):
        self.chance = random.Random(seed)
        self.true = NOW
        self.ours = self.stores = 0

    def jump(self):
        """Let one clock jump by up to ten years, or set both right."""
        self.ours = self.stores = 0
        by = round(self.chance.choice([-1, 1]) * 10 ** self.chance.uniform(0, 10)) % (10 * YEAR)
        by *= self.chance.choice([-1, 1])
        match self.chance.randrange(4):
            case 0:
                self.ours = by
            case 1:
                self.stores = by


def timed_records():
    """A key that ends, one that begins, one with a retired secret; with the truth about each."""
    ending, ending_text = issue_record(RING, kid="E" * 16, expires_at=NOW + LIFE)
    beginning, beginning_text = issue_record(RING, kid="B" * 16, not_before=NOW + LIFE)
    retiring, retiring_text = issue_record(RING, kid="R" * 16)
    old = retiring.secrets[0]
    secrets = (replace(old, retires_at=NOW + LIFE), Secret("2", bytes(32), "1", NOW))
    retiring = replace(retiring, secrets=secrets)
    return {
        RING.parse(ending_text): (ending, lambda at: at < NOW + LIFE),
        RING.parse(beginning_text): (beginning, lambda at: at >= NOW + LIFE),
        RING.parse(retiring_text): (retiring, lambda at: at < NOW + LIFE),
    }


def timed_tokens():
    """A token that ends, and one that begins; with the truth about each."""
    record, _ = issue_record(RING, kid=KID, scopes=frozenset({"a:read"}))
    ending = claims(issued_at=SECONDS, expires_at=SECONDS + LIFE // 1000)
    begins = SECONDS + LIFE // 1000 + LEEWAY
    beginning = claims(issued_at=begins, not_before=begins, expires_at=begins + 600)
    return {
        RING.parse_token(issue(RING, ending)): (record, lambda at: at < NOW + LIFE),
        RING.parse_token(issue(RING, beginning)): (record, lambda at: at >= NOW + LIFE),
    }


def run(seed, kind):
    """Return the wrong allows, the wrong refusals, and how many checks were decided."""
    machines, clock = Machines(seed), FakeClock()
    keys = timed_records() | timed_tokens()
    store_clock = kind(LEASE)
    gate = GateRig(clock, RecordingProbe(), ring=RING, store_clock=store_clock).gate
    records = {record.kid: record for record, _ in keys.values()}
    cache = asyncio.run(
        filled(records.values(), FakeClock(), RecordingProbe())
    )  # its clock stands still
    checker = Checker(
        *(cache, Vouched(), clock, RecordingProbe()), store_clock=store_clock, tokens=gate
    )
    start, wrong_allows, wrong_refusals, decided = clock.monotonic(), [], [], 0

    def show():
        clock.jump_wall(int(machines.true + machines.ours) - clock.wall_ms())

    def heartbeat():
        sent = clock.monotonic()
        away = machines.chance.uniform(0, ROUND_TRIP)
        clock.advance(away)
        machines.true += away * 1000
        reading = int(machines.true + machines.stores)
        back = machines.chance.uniform(0, ROUND_TRIP)
        clock.advance(back)
        machines.true += back * 1000
        store_clock.measured(reading, sent, clock.monotonic())

    heartbeat()
    while clock.monotonic() < start + 3 * LIFE / 1000:
        if machines.chance.random() < 0.05:
            machines.jump()
            heartbeat()  # or the last reading and our clock could both be wrong
        passed = machines.chance.uniform(0, 0.4)
        clock.advance(passed)
        machines.true += passed * 1000
        if machines.chance.random() < 0.5:
            heartbeat()
        show()
        for credential, (_, is_good) in keys.items():
            decision = checker.check(make_request(credential=credential))
            reason = None if isinstance(decision, Allow) else decision.reason
            if reason is None and not is_good(machines.true):
                wrong_allows.append((machines.true - NOW, machines.ours, machines.stores))
            elif reason not in (None, Reason.UNAVAILABLE) and is_good(machines.true):
                wrong_refusals.append((machines.true - NOW, machines.ours, machines.stores))
            decided += reason is not Reason.UNAVAILABLE
    return wrong_allows, wrong_refusals, decided


@pytest.mark.parametrize("seed", range(20))
def test_no_wrong_decision(seed):
    """With one wrong clock, from 1 ms to 10 years off, every decision is right or UNAVAILABLE."""
    wrong_allows, wrong_refusals, decided = run(seed, StoreClock)
    assert (wrong_allows, wrong_refusals) == ([], [])
    assert decided > 300


@pytest.mark.parametrize("mutant", [OnlyOurs, OnlyTheStores])
def test_mutants_are_caught(mutant):
    """The run finds wrong allows and wrong refusals if only one clock is looked at."""
    found = [run(seed, mutant) for seed in range(3)]
    assert any(allows for allows, _, _ in found)
    assert any(refusals for _, refusals, _ in found)
