"""The keys and pools of the run, in each partition, and how often each key is used."""

from dataclasses import dataclass

from authz.core.keys.text import KID_LENGTH
from authz.core.limits.key_limits import LimitPolicy
from authz.core.limits.limit import OnOutage, parse_limits
from authz.core.records import KeyRecord
from tests.spending.history import Rate
from tests.support.fakes import make_record

COUNT = 8  # partitions
KEYS = 4  # of each partition
FREQUENT = (10.0, 8.0, 8.0, 8.0)  # requests of a sidecar for each key in a second
RARE = (10.0, 1.5, 1.5, 1.5)  # about as much as the limits hold

SMALL, OWN, PROJECT, OTHER, TENANT = "20/s", "100/min", "400/min", "300/min", "600/min"


@dataclass(frozen=True, slots=True)
class Group:
    """Limits that are counted together. keys: the numbers of the keys that take from them."""

    name: str
    keys: frozenset[int]
    rate: Rate
    is_used_up: bool  # by the load, also in a short run


def records(kind: str, partition: int) -> list[KeyRecord]:
    """Return the keys of a partition: one alone, two of one project, one of another.

    kind: of the sidecars. Each kind has keys and pools of its own. Nothing passes that the store
    has not counted.
    """
    tenant = f"tenant-{kind}"
    limits = ((SMALL, ""), ("", "one"), (OWN, "one"), ("", "other"))
    return [
        make_record(
            kid=f"{kind}{partition}{number}".ljust(KID_LENGTH, "0"),
            limits=parse_limits("limits", (text,)) if text else (),
            project_id=project,
            tenant_id=tenant if project else "",
            on_outage=OnOutage.DENY,
        )
        for number, (text, project) in enumerate(limits)
    ]


def policy() -> LimitPolicy:
    """Return the pools. Those of large limits are leased."""
    return LimitPolicy(
        projects={
            "one": parse_limits("limits", (PROJECT,)),
            "other": parse_limits("limits", (OTHER,)),
        },
        tenants={"*": parse_limits("limits", (TENANT,))},
    )


def loads(partition: int) -> tuple[float, ...]:
    """Return the requests of a sidecar in a second for each key of a partition."""
    return FREQUENT if partition % 2 else RARE


def groups(partition: int) -> list[Group]:
    """Return the limits that hold in a partition. A key has the number of `number_of`."""
    first, often = number_of(partition, 0), bool(partition % 2)
    return [
        Group(f"{name} of partition {partition}", frozenset(first + at for at in keys), rate, used)
        for name, keys, rate, used in (
            (f"{SMALL} of a key", (0,), Rate(20, 1), True),
            (f"{OWN} of a key", (2,), Rate(100, 60), False),
            (f"{PROJECT} of a project", (1, 2), Rate(400, 60), False),
            (f"{OTHER} of a project", (3,), Rate(300, 60), False),
            (f"{TENANT} of a tenant", (1, 2, 3), Rate(600, 60), often),
        )
    ]


def number_of(partition: int, key: int) -> int:
    """Return the number of a key among those of all partitions."""
    return partition * KEYS + key
