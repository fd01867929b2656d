"""KeyFilter: the conditions of a list of keys, in a URL, for the API and for the command line."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from authz.core.selector import State

STATES: Final = tuple(state.value for state in State)
ENVIRONMENTS: Final = ("live", "test")
# The parameter of a URL, the field of the API's filter, and the option of a command.
_EXACT: Final = (
    ("status", "status", "--status"),
    ("env", "env", "--env"),
    ("client", "client_id", "--client"),
    ("project", "project_id", "--project"),
    ("tenant", "tenant_id", "--tenant"),
    ("plan", "plan", "--plan"),
)
NAMES: Final = ("q", *(name for name, _, _ in _EXACT))
_MAX: Final = 128  # characters of a condition


@dataclass(frozen=True, slots=True)
class KeyFilter:
    """The conditions. values: by parameter of the URL, none of them empty."""

    values: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, parameters: Iterable[tuple[str, str]]) -> "KeyFilter":
        """Return the conditions in the parameters of a URL. Others are left out."""
        given = {name: value.strip()[:_MAX] for name, value in parameters}
        return cls(tuple((name, given[name]) for name in NAMES if given.get(name)))

    def get(self, name: str) -> str:
        """Return the value of a parameter. Empty without it."""
        return dict(self.values).get(name, "")

    @property
    def text(self) -> str:
        """The filter of the API. Empty without a condition."""
        return " AND ".join(self._comparisons())

    @property
    def query(self) -> str:
        """The parameters of the URL, encoded. Empty without a condition."""
        return urlencode(self.values)

    def options(self) -> list[str]:
        """Return the options of `authz keys list` that select the same keys."""
        found = []
        if self.get("q"):
            found += ["--name", f"*{self.get('q')}*"]
        for name, _, option in _EXACT:
            if self.get(name):
                found += [option, self.get(name)]
        return found

    def _comparisons(self) -> Iterator[str]:
        if self.get("q"):
            yield f"display_name = {_quoted('*' + self.get('q') + '*')}"
        for name, field, _ in _EXACT:
            if self.get(name):
                yield f"{field} = {_quoted(self.get(name))}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
