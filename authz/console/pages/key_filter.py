"""KeyFilter: the conditions and the order of a list of keys, as a URL, the API and commands have
them."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple
from urllib.parse import urlencode

from authz.core.kinds import Kind
from authz.core.selector import State

STATES: Final = tuple(state.value for state in State)
KINDS: Final = tuple(kind.value for kind in Kind)
ENVIRONMENTS: Final = ("live", "test")
# The parameter of a URL, the field of the API's filter, and the name of a condition of a command.
_FIELDS: Final = (
    ("q", "search", "search"),
    ("status", "status", "status"),
    ("kind", "kind", "kind"),
    ("env", "env", "env"),
    ("client", "client_id", "client"),
    ("project", "project_id", "project"),
    ("tenant", "tenant_id", "tenant"),
    ("plan", "plan", "plan"),
)
NAMES: Final = (*(name for name, _, _ in _FIELDS), "sort")
_MAX: Final = 256  # characters of a condition


class Order(NamedTuple):
    """An order. order_by: of the API. option: of `authz keys list --sort`."""

    order_by: str
    option: str


NEWEST: Final = Order("create_time desc", "-created")
OLDEST: Final = Order("", "")
ORDERS: Final[Mapping[str, Order]] = {
    "": NEWEST,
    "oldest": OLDEST,
    "name": Order("display_name", "name"),
    "client": Order("client_id", "client"),
    "plan": Order("plan", "plan"),
    "expires": Order("expire_time", "expires"),
    "changed": Order("version desc", "-changed"),
}


@dataclass(frozen=True, slots=True)
class KeyFilter:
    """The conditions. values: by parameter of the URL, none of them empty."""

    values: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, parameters: Iterable[tuple[str, str]]) -> "KeyFilter":
        """Return the conditions in the parameters of a URL. Others are left out."""
        given = {name: value.strip()[:_MAX] for name, value in parameters}
        if given.get("sort") not in ORDERS:
            given.pop("sort", None)
        return cls(tuple((name, given[name]) for name in NAMES if given.get(name)))

    def get(self, name: str) -> str:
        """Return the value of a parameter. Empty without it."""
        return dict(self.values).get(name, "")

    @property
    def conditions(self) -> tuple[tuple[str, str], ...]:
        """The values without the order."""
        return tuple((name, value) for name, value in self.values if name != "sort")

    @property
    def order(self) -> Order:
        """The order of the list: the newest key first, unless the URL says otherwise."""
        return ORDERS[self.get("sort")]

    @property
    def text(self) -> str:
        """The filter of the API. Empty without a condition."""
        return " AND ".join(
            f"{field} = {_quoted(self.get(name))}" for name, field, _ in _FIELDS if self.get(name)
        )

    @property
    def query(self) -> str:
        """The parameters of the URL, encoded. Empty without a condition."""
        return urlencode(self.values)

    def sorted_by(self, sort: str) -> str:
        """Return the parameters of the URL with another order, encoded."""
        rest = self.conditions
        return urlencode((*rest, ("sort", sort)) if sort else rest)

    def options(self) -> list[str]:
        """Return the options of `authz keys list` that select the same keys, and sort them."""
        sort = ["--sort", self.order.option] if self.order.option else []
        return [*self.selecting(), *sort]

    def selecting(self) -> list[str]:
        """Return the options of a command that select the same keys."""
        return [word for name, value in self._pairs() for word in (f"--{name}", value)]

    def where(self) -> list[str]:
        """Return the options of `authz keys update` that select the same keys."""
        return [word for name, value in self._pairs() for word in ("--where", f"{name}={value}")]

    def _pairs(self) -> Iterator[tuple[str, str]]:
        for name, _, condition in _FIELDS:
            if self.get(name):
                yield condition, self.get(name)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
