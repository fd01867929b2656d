"""The checker: judges whether a history keeps the promises. It knows nothing of a sidecar's code.

1. A request that is sent later than `bound` after a confirmed change is answered by it. The bound
   is the lease plus the time that an isolated primary needs to stop. A stale answer adds the
   grace.
2. A sidecar that once called a key revoked never allows it again.
3. A good key is not refused. `unavailable` and stale answers are right only while the store cannot
   be reached, or up to `settle` seconds later, for the link to be replaced. Only a secret that was
   just rotated away may be `unavailable` too, for a lease: its end may lie between both clocks.
4. After every sidecar has acknowledged the end of a key, none allows it. The same holds after the
   time at which `--wait` reports that no sidecar can act on the old state.
5. A sidecar never answers with an internal error.
6. A request that is sent after the report of a reload is answered by the new rules, and one that is
   answered before the change of the file by the old ones. A file with a mistake changes nothing.
7. All this holds for a token as for its key: revoked, disabled, narrowed or rotated away, its key
   ends it within the same bound.

A run proves a promise only if it was tested: `tried` counts the answers that could have broken one.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.chaos.history import Answer, Change, Key, Outcome, State, possible_after
from tests.chaos.rules import Rules

NEVER = float("inf")
ALLOWS = {Outcome.ALLOW, Outcome.STALE_ALLOW}
NO_SCOPES = {Outcome.NO_SCOPE, Outcome.STALE_NO_SCOPE}
STALE = {
    Outcome.STALE_ALLOW,
    Outcome.STALE_DISABLED,
    Outcome.STALE_NO_SCOPE,
    Outcome.STALE_ROTATED,
}
_UNSCOPED = {State.ACTIVE, State.NARROWED}  # scopes are checked after the other states
CLAIMS = {
    Outcome.ALLOW: {State.ACTIVE},
    Outcome.STALE_ALLOW: {State.ACTIVE},
    Outcome.NO_SCOPE: _UNSCOPED,
    Outcome.STALE_NO_SCOPE: _UNSCOPED,
    Outcome.REVOKED: {State.REVOKED},
    Outcome.DISABLED: {State.DISABLED},
    Outcome.STALE_DISABLED: {State.DISABLED},
    Outcome.ROTATED: {State.ROTATED},
    Outcome.STALE_ROTATED: {State.ROTATED},
    Outcome.UNKNOWN: {State.ABSENT},
}


@dataclass(frozen=True, slots=True)
class Bounds:
    """The promised bounds, in seconds.

    settle: a lost connection attempt takes a lease to give up, then half a second passes before the
    next, and then a bulk update may have to be read from the log.
    """

    lease: float
    isolation: float = 0.0
    settle: float = 2.0


class Late(NamedTuple):
    """An answer without the store, later than `settle` after `ended`, the end of the outage."""

    key: Key
    sent: float
    ended: float


@dataclass(slots=True)
class Verdict:
    """The findings about one sidecar. violations: the first ones of each kind, as text."""

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    tried: Counter[str] = field(default_factory=Counter)
    # Seconds after the change that ended the key was confirmed, by the key's grace.
    latest_allow: dict[float, float] = field(default_factory=dict)
    # Seconds after the end of each outage, of the last answer that was not current.
    returns: dict[float, float] = field(default_factory=dict)
    late: list[Late] = field(default_factory=list)

    @property
    def latest_return(self) -> float:
        """Seconds after the store was within reach, of the last answer that was not current."""
        return max(self.returns.values(), default=0.0)

    def blame(self, kind: str, key: Key, answer: Answer) -> None:
        """Record a broken promise."""
        self.counts[kind] += 1
        if self.counts[kind] <= 3:
            past = [
                f"{'/'.join(sorted(change.states))} {change.asked - answer.sent:+.3f}.."
                + ("?" if change.confirmed is None else f"{change.confirmed - answer.sent:+.3f}")
                for change in key.changes
            ]
            who = f"a token of {key.kid}" if key.is_token else key.kid
            self.violations.append(
                f"{kind}: {who} (grace {key.grace:g}) was answered {answer.outcome} after "
                f"{answer.answered - answer.sent:.3f} s; seen from the request: {'; '.join(past)}"
            )


Outages = Sequence[tuple[float, float]]


def check(
    keys: Sequence[Key],
    answers: Iterable[Answer],
    outages: Outages | Callable[[Key], Outages],
    bounds: Bounds,
    reloads: Sequence[Change[Rules]] = (),
) -> Verdict:
    """Judge one sidecar. outages: times in which it could not, or might not, reach the store.

    For keys of several partitions it is a function, which gives those of a key.
    reloads: its rules from the start on; without any it is not judged by rules.
    """
    verdict = Verdict()
    called_revoked: dict[int, float] = {}
    known: dict[tuple[int, bool], Outages] = {}
    for answer in answers:
        key, outcome = keys[answer.key], answer.outcome
        verdict.outcomes[outcome] += 1
        if outcome is Outcome.OTHER:
            verdict.blame("fault", key, answer)
        elif outcome is not Outcome.UNAVAILABLE:
            _check_claim(verdict, key, answer, bounds)
        if outcome is not Outcome.UNAVAILABLE or not _may_be_between_clocks(key, answer, bounds):
            found = outages
            if callable(outages):
                place = key.partition, key.is_token
                found = known[place] = known.get(place) or outages(key)
            _check_reach(verdict, key, answer, found, bounds.settle)
        _check_acknowledged(verdict, key, answer)
        if reloads and (
            outcome in ALLOWS
            or (outcome in NO_SCOPES and not _may_be_narrowed(key, answer, bounds))
        ):
            _check_rules(verdict, key, answer, reloads)
        since = called_revoked.get(answer.key, NEVER)
        if outcome is Outcome.REVOKED:
            called_revoked[answer.key] = min(since, answer.answered)
        if answer.sent > since:
            verdict.tried["seen revoked"] += 1
            if outcome in ALLOWS:
                verdict.blame("resurrected", key, answer)
    return verdict


def _possible(key: Key, answer: Answer, bounds: Bounds) -> set[State]:
    """Return every state that an answer may go by."""
    grace = key.grace if answer.outcome in STALE else 0.0
    bound = bounds.lease + bounds.isolation + grace
    return key.possible(answer.sent - bound, answer.answered)


def _may_be_narrowed(key: Key, answer: Answer, bounds: Bounds) -> bool:
    return State.NARROWED in _possible(key, answer, bounds)


def _may_be_between_clocks(key: Key, answer: Answer, bounds: Bounds) -> bool:
    """Return whether the end of the secret may lie between the sidecar's clock and the store's.

    The store's clock is known but for the round trip of a heartbeat. A longer one than a lease
    gives no trust.
    """
    return any(
        State.ROTATED in change.states
        and change.asked <= answer.answered
        and (change.confirmed is None or answer.sent <= change.confirmed + bounds.lease)
        for change in key.changes
    )


def _check_claim(verdict: Verdict, key: Key, answer: Answer, bounds: Bounds) -> None:
    claims = CLAIMS[answer.outcome]
    if answer.outcome in ALLOWS:
        late = _since_end(key, answer)
        if late is not None:
            latest = max(late, verdict.latest_allow.get(key.grace, 0.0))
            verdict.latest_allow[key.grace] = latest
    possible = _possible(key, answer, bounds)
    is_dead = State.ACTIVE not in possible
    verdict.tried["dead"] += is_dead
    verdict.tried["dead token"] += is_dead and key.is_token
    if answer.outcome is Outcome.REVOKED and any(
        State.REVOKED in change.states and change.asked <= answer.answered for change in key.changes
    ):
        return  # final, whatever became of the store
    if not claims & possible:
        kind = "stale allow" if answer.outcome in ALLOWS else "false denial"
        verdict.blame(kind, key, answer)


def _check_reach(
    verdict: Verdict,
    key: Key,
    answer: Answer,
    outages: Outages,
    settle: float,
) -> None:
    """Check that an answer without the store is given only while the store is out of reach."""
    is_current = answer.outcome is not Outcome.UNAVAILABLE and answer.outcome not in STALE
    ended = max((end for begin, end in outages if begin <= answer.answered), default=-NEVER)
    since = answer.sent - ended
    if not is_current:
        verdict.returns[ended] = max(since, verdict.returns.get(ended, 0.0))
    if since > settle:
        verdict.tried["within reach"] += 1
        if not is_current:
            kind = "unavailable" if answer.outcome is Outcome.UNAVAILABLE else "stale"
            verdict.blame(kind, key, answer)
            verdict.late.append(Late(key, answer.sent, ended))


def _check_acknowledged(verdict: Verdict, key: Key, answer: Answer) -> None:
    if answer.sent > key.acknowledged:
        verdict.tried["acknowledged"] += 1
        if answer.outcome in ALLOWS:
            verdict.blame("acknowledged", key, answer)
    elif answer.sent > key.over and State.ACTIVE not in key.possible(answer.sent, answer.answered):
        verdict.tried["over"] += 1
        if answer.outcome in ALLOWS:
            verdict.blame("over", key, answer)


def _check_rules(
    verdict: Verdict, key: Key, answer: Answer, reloads: Sequence[Change[Rules]]
) -> None:
    """Check that the scope that a request needed follows from rules that may have been in force."""
    possible, _ = possible_after(reloads, answer.sent, answer.answered)
    verdict.tried["reloaded"] += len(reloads) > 1 and len(possible) == 1
    if not any(rules.allows(answer.path) == (answer.outcome in ALLOWS) for rules in possible):
        verdict.blame("wrong rules", key, answer)


def _since_end(key: Key, answer: Answer) -> float | None:
    """Return how long before the request the key had certainly ended, or None."""
    if State.ACTIVE in key.possible(answer.sent, answer.answered):
        return None
    ended = [c.confirmed for c in key.changes if c.confirmed and c.confirmed <= answer.sent]
    return answer.sent - max(ended) if ended else None
