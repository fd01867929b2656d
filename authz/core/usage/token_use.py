"""TokenUse: sums of tokens, money and settlements of requests with the same terms."""

from authz.core.budgets.learned import Learning
from authz.core.budgets.settlement import NOT_METERED, Basis, parse_report, settle
from authz.core.budgets.terms import Terms
from authz.core.limits.key_limits import LimitGroup, Owner
from authz.core.limits.reserved import Taken
from authz.core.usage.commit import Budget, Commit, OnceUse, Settlement
from authz.core.usage.entry import NO_VALUE, Identity


class TokenUse:
    """The sums of some requests of one identity: same terms (None: no tokens), same reservation.

    tokens: in the order of Tokens. micro_dollars: their cost.
    estimated: how many requests kept their estimate, or more. implausible: how many reported more
    than one request can have. requests: how many there are. used: the sum of what each of them used
    of each budget, in the order of `taken`; of attempts of one request that is charged once, the
    most. learning: from final and plausible reports alone.
    """

    __slots__ = (
        *("_once", "_taken", "_terms", "estimated", "implausible", "learning", "micro_dollars"),
        *("requests", "tokens", "used"),
    )

    def __init__(
        self, terms: Terms | None, taken: tuple[Taken, ...], *, once: bool = False
    ) -> None:
        self._once = once
        self._terms = terms
        self._taken = taken
        self.tokens = [0, 0, 0, 0, 0]
        self.micro_dollars = self.estimated = self.implausible = self.requests = 0
        self.used = [0] * len(taken)
        self.learning = Learning()

    def add(self, rest: bytes, bytes_out: int, *, failed: bool) -> None:
        """Add one request. rest: its line from the word `tokens` on; failed: see `settle`."""
        settled = NOT_METERED
        if self._terms is not None:
            report = parse_report(rest.partition(b" ")[0])
            settled = settle(self._terms, report, failed=failed)
        self.requests += 1
        self.estimated += settled.basis is Basis.ESTIMATED
        self.implausible += not settled.is_plausible
        self.micro_dollars += settled.micro_dollars or 0
        if settled.basis is Basis.REPORTED and settled.is_plausible:
            self.learning.add(settled.units, settled.micro_dollars)
        for at, number in enumerate(settled.tokens):
            self.tokens[at] += number
        for at, taken in enumerate(self._taken):
            used = settled.used(taken, bytes_out)
            self.used[at] = max(self.used[at], used) if self._once else self.used[at] + used


def add_settlements(commit: Commit, identity: Identity, use: TokenUse) -> None:
    """Add what the requests of an identity used of their budgets, in place of their estimates.

    Add what can be learned of their route, too.
    """
    commit.estimated += use.estimated
    commit.implausible += use.implausible
    if identity.route and use.learning.units.steps:
        place = (identity.route, identity.model)
        commit.learned.setdefault(place, Learning()).merge(use.learning)
    for at, (taken, used) in enumerate(zip(identity.taken, use.used, strict=True)):
        group = _owner(identity, taken.owner)
        if not group.id:
            continue
        budget = Budget(group, taken.ends_ms, taken.counter)
        if identity.once:
            commit.once.append((OnceUse(identity.once, at), budget, Settlement(used, taken.units)))
        else:
            known = commit.settlements.get(budget, Settlement(0, 0))
            more = Settlement(used, use.requests * taken.units)
            commit.settlements[budget] = known + more


def _owner(identity: Identity, owner: Owner) -> LimitGroup:
    """Return the group of a budget, without its limits; its id is empty if the line has none."""
    _, project, tenant, *_ = (
        "" if word == NO_VALUE else word for word in identity.about.split(" ")
    )
    ids = {Owner.KEY: identity.kid, Owner.PROJECT: project, Owner.TENANT: tenant}
    return LimitGroup(owner, ids[owner], (), tenant if owner is Owner.PROJECT else "")
