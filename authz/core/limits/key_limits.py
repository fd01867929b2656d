"""The limits that apply to one key: those of its plan, its own, and the pools that it shares.

A key's own limit replaces the limit of the same name in its plan; other limits are added. Limits of
a project and of a tenant are pools: all of their keys use them together. A request is counted in
every group that applies, and passes only if each of them has room.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from authz.core.errors import UnknownPlan
from authz.core.limits.amounts import Cost
from authz.core.limits.limit import Limit, OnOutage
from authz.core.records import KeyRecord

ANY: Final = "*"  # in a table of pools: every id that the table does not name
NO_LIMITS: Final[tuple[Limit, ...]] = ()

Limits = tuple[Limit, ...]


class Owner(StrEnum):
    """The kind of thing that a limit group belongs to."""

    KEY = "key"
    PROJECT = "project"
    TENANT = "tenant"


@dataclass(frozen=True, slots=True)
class LimitGroup:
    """Limits that are counted together. `id`: the kid, the project's id or the tenant's id.

    tenant_id: the tenant of a project; empty if the project has none. Two tenants may have projects
    of the same id. Each of them has its own pool.
    """

    owner: Owner
    id: str
    limits: Limits
    tenant_id: str = ""

    @property
    def counter_id(self) -> str:
        """The id under which the group is counted: `tenant/project` for a project of a tenant.

        Otherwise it is `id`. A slash inside an id is written %2F, so that no two groups share one.
        """
        own = _without_slash(self.id)
        return f"{_without_slash(self.tenant_id)}/{own}" if self.tenant_id else own

    @property
    def former_id(self) -> str:
        """The id under which earlier versions counted the group; empty if it is the same.

        They counted all projects of one id together. A pool that has no counters yet
        starts with theirs, so an upgrade gives nobody a fresh limit.
        """
        return _without_slash(self.id) if self.tenant_id else ""

    def names(self) -> tuple[str, ...]:
        """Return the limit names that callers see: `minute`, or of a pool `tenant:minute`."""
        if self.owner is Owner.KEY:
            return tuple(limit.name for limit in self.limits)
        return tuple(f"{self.owner}:{limit.name}" for limit in self.limits)


def _without_slash(text: str) -> str:
    return text.replace("/", "%2F") if "/" in text else text  # ids have no percent sign


@dataclass(frozen=True, slots=True, eq=False)
class KeyLimits:
    """All limits of one key. `names` and `limits` list those of all groups, in their order.

    At least one group, at most one of each owner, and no group without limits.
    """

    groups: tuple[LimitGroup, ...]
    on_outage: OnOutage
    names: tuple[str, ...] = field(init=False)
    limits: Limits = field(init=False)

    def __post_init__(self) -> None:
        names = tuple(name for group in self.groups for name in group.names())
        object.__setattr__(self, "names", names)
        limits = tuple(limit for group in self.groups for limit in group.limits)
        object.__setattr__(self, "limits", limits)

    def taken_by(self, cost: Cost) -> "KeyLimits | None":
        """Return the limits that a request of `cost` takes from, or None if there are none.

        A request without tokens takes nothing from a budget of tokens, for example. Raises
        UnknownPrice if there is a budget of money, and no price is known.
        """
        if all(limit.charge(cost) for limit in self.limits):
            return self
        groups = tuple(
            replace(group, limits=kept)
            for group in self.groups
            if (kept := tuple(limit for limit in group.limits if limit.charge(cost)))
        )
        return KeyLimits(groups, self.on_outage) if groups else None


@dataclass(frozen=True, slots=True, eq=False)
class LimitResult:
    """The result of a request that takes from limits. Sequences are in the order of the limits.

    remaining: units left after the request, at least 0.
    resets_ms: of a limit that refused, the time until the same request would pass. Of another, the
    length of its window or the rest of its period. Of credits it means nothing.
    violated: the indexes of the limits that have no room, enforced or not. The request passes if
    none of them is enforced.
    retry_after_ms: of a refused request, the time until it would pass, else 0. None if it never
    passes: enforced credits are used up, or it takes more than an enforced limit or burst ever has.
    windows: the length of each limit's window or current period, in seconds, 0 of credits; empty if
    all limits are rates.
    reserved: what the request took from budgets, for its usage record; empty if it is nothing.
    is_repeat: the request was charged before, and took nothing.
    """

    key_limits: KeyLimits
    remaining: tuple[int, ...]
    resets_ms: tuple[int, ...]
    violated: tuple[int, ...] = ()
    retry_after_ms: int | None = 0
    windows: tuple[int, ...] = ()
    reserved: str = ""
    is_repeat: bool = False

    @property
    def allowed(self) -> bool:
        """True if no enforced limit is violated."""
        limits = self.key_limits.limits
        return not (self.violated and any(limits[index].enforce for index in self.violated))

    @property
    def exceeds_quota(self) -> bool:
        """True if an enforced quota or credits are violated, also if rates are violated as well.

        False if only quotas that are not enforced are violated.
        """
        limits = self.key_limits.limits
        return any(limits[index].enforce and limits[index].is_quota for index in self.violated)


@dataclass(frozen=True, slots=True)
class LimitPolicy:
    """The limits in the settings.

    plans: limits by plan name. projects, tenants: pools by id. The id ANY gives each id that is not
    named a pool of its own; a key without the id has no pool. A key of a plan that is not in
    `plans` cannot be judged.
    """

    plans: Mapping[str, Limits] = field(default_factory=dict)
    projects: Mapping[str, Limits] = field(default_factory=dict)
    tenants: Mapping[str, Limits] = field(default_factory=dict)
    on_outage: OnOutage = OnOutage.LOCAL

    def of(self, record: KeyRecord, now: int) -> KeyLimits | None:
        """Return the limits of a key, its project and its tenant, or None if there are none at all.

        A throttle that lasts at `now` (ms since the epoch) lowers the rates of the key. Raises
        UnknownPlan if `plans` lacks the plan that the record names.
        """
        groups = (
            LimitGroup(Owner.KEY, record.kid, self._own(record, now)),
            pool_of_project(record, _pool(self.projects, record.project_id)),
            LimitGroup(Owner.TENANT, record.tenant_id, _pool(self.tenants, record.tenant_id)),
        )
        with_limits = tuple(group for group in groups if group.limits)
        return KeyLimits(with_limits, self.on_outage_of(record)) if with_limits else None

    def on_outage_of(self, record: KeyRecord) -> OnOutage:
        """Return the key's own `on_outage`, or that of the settings if the record has none."""
        return record.on_outage or self.on_outage

    def _own(self, record: KeyRecord, now: int) -> Limits:
        limits, throttle = self._named(record), record.throttle
        if throttle is None or now >= throttle.until:
            return limits
        return tuple(map(throttle.lowered, limits))

    def _named(self, record: KeyRecord) -> Limits:
        if not record.plan:
            return record.limits
        plan = self.plans.get(record.plan)
        if plan is None:
            raise UnknownPlan(f"key {record.kid}: the settings have no plan {record.plan}")
        return tuple({limit.name: limit for limit in (*plan, *record.limits)}.values())


def pool_of_project(record: KeyRecord, limits: Limits) -> LimitGroup:
    """Return the limit group of the record's project, with `limits` and the record's tenant."""
    return LimitGroup(Owner.PROJECT, record.project_id, limits, record.tenant_id)


def _pool(pools: Mapping[str, Limits], owner_id: str) -> Limits:
    return pools.get(owner_id, pools.get(ANY, NO_LIMITS)) if owner_id else NO_LIMITS
