"""What a key may use, as a whole: its plan, its own limits, and the pools that it shares.

A key's own limit takes the place of its plan's limit of that name, and others are added. The limits
of a project and of a tenant come on top: all of their keys count together, each request counts in
every account, and it passes only if all of them let it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from authz.core.errors import UnknownPlan
from authz.core.limits.limit import Limit, OnOutage
from authz.core.records import KeyRecord

ANY: Final = "*"  # in a table of pools: whoever is not named there
NO_LIMITS: Final[tuple[Limit, ...]] = ()

Limits = tuple[Limit, ...]


class Owner(StrEnum):
    """Whose account it is."""

    KEY = "key"
    PROJECT = "project"
    TENANT = "tenant"


@dataclass(frozen=True, slots=True)
class LimitGroup:
    """Limits that are counted in one place. `id`: the kid, the project's or the tenant's id."""

    owner: Owner
    id: str
    limits: Limits

    def names(self) -> tuple[str, ...]:
        """What callers see each limit called; a pool's says whose it is."""
        if self.owner is Owner.KEY:
            return tuple(limit.name for limit in self.limits)
        return tuple(f"{self.owner}:{limit.name}" for limit in self.limits)


@dataclass(frozen=True, slots=True, eq=False)
class KeyLimits:
    """All that one key is held to. `names` and `limits`: of all accounts, one after the other.

    At most one account of each owner, none without limits, at least one.
    """

    accounts: tuple[LimitGroup, ...]
    on_outage: OnOutage
    names: tuple[str, ...] = field(init=False)
    limits: Limits = field(init=False)

    def __post_init__(self) -> None:
        names = tuple(name for account in self.accounts for name in account.names())
        object.__setattr__(self, "names", names)
        limits = tuple(limit for account in self.accounts for limit in account.limits)
        object.__setattr__(self, "limits", limits)


@dataclass(frozen=True, slots=True, eq=False)
class LimitResult:
    """What became of a request that takes from limits. The sequences go by `terms.limits`.

    remaining: units left after it, never below 0. resets_ms: when there may be more; of a limit
    that refused, when the same request would pass; otherwise the length of the window, or what is
    left of the period. violated: which limits have no room for it, enforced or not; with none of
    the enforced among them it was let pass. retry_after_ms: when it would pass, of a refused one;
    None: never, it costs more than a limit.
    """

    terms: KeyLimits
    remaining: tuple[int, ...]
    resets_ms: tuple[int, ...]
    violated: tuple[int, ...] = ()
    retry_after_ms: int | None = 0

    @property
    def allowed(self) -> bool:
        """Does the request pass?"""
        limits = self.terms.limits
        return not (self.violated and any(limits[index].enforce for index in self.violated))

    @property
    def exceeds_quota(self) -> bool:
        """Of a refused request: is it a quota that refuses it, whichever rates do as well?"""
        limits = self.terms.limits
        return any(limits[index].enforce and limits[index].is_quota for index in self.violated)


@dataclass(frozen=True, slots=True)
class LimitPolicy:
    """What the settings say about limits.

    projects, tenants: pools by id; ANY stands for each id that is not named, with a pool of its
    own. A key names its plan; one that is not in `plans` cannot be judged.
    """

    plans: Mapping[str, Limits] = field(default_factory=dict)
    projects: Mapping[str, Limits] = field(default_factory=dict)
    tenants: Mapping[str, Limits] = field(default_factory=dict)
    on_outage: OnOutage = OnOutage.LOCAL

    def of(self, record: KeyRecord) -> KeyLimits | None:
        """What this key is held to; None: to nothing. Raises UnknownPlan."""
        accounts = (
            LimitGroup(Owner.KEY, record.kid, self._own(record)),
            LimitGroup(Owner.PROJECT, record.project_id, _pool(self.projects, record.project_id)),
            LimitGroup(Owner.TENANT, record.tenant_id, _pool(self.tenants, record.tenant_id)),
        )
        held = tuple(account for account in accounts if account.limits)
        return KeyLimits(held, self.on_outage_of(record)) if held else None

    def on_outage_of(self, record: KeyRecord) -> OnOutage:
        """What becomes of the key's limits while they cannot be counted."""
        return record.on_outage or self.on_outage

    def _own(self, record: KeyRecord) -> Limits:
        if not record.plan:
            return record.limits
        plan = self.plans.get(record.plan)
        if plan is None:
            raise UnknownPlan(f"key {record.kid}: the settings have no plan {record.plan}")
        return tuple({limit.name: limit for limit in (*plan, *record.limits)}.values())


def _pool(pools: Mapping[str, Limits], owner_id: str) -> Limits:
    return pools.get(owner_id, pools.get(ANY, NO_LIMITS)) if owner_id else NO_LIMITS
