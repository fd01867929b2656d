"""KeyForm: the fields of a key as texts of a form, and as the API has them."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from authz.console.pages.forms import Form

LISTS: Final = {
    "limits": "limits",
    "scopes": "scopes",
    "cidrs": "allowedCidrs",
    "hosts": "allowedHosts",
    "origins": "allowedOrigins",
}
TEXTS: Final = {
    "client": "clientId",
    "name": "displayName",
    "tenant": "tenantId",
    "project": "projectId",
    "plan": "plan",
}
LIFETIMES: Final = (
    ("30d", "30 days", "2592000s"),
    ("90d", "90 days", "7776000s"),
    ("365d", "1 year", "31536000s"),
)
_SECONDS: Final = {name: seconds for name, _, seconds in LIFETIMES}
KEEP: Final = "keep"
# The field of the form, the option of a command, and the field of an update mask.
_OPTIONS: Final = (
    ("client", "--client", "client_id"),
    ("name", "--name", "display_name"),
    ("tenant", "--tenant", "tenant_id"),
    ("project", "--project", "project_id"),
    ("plan", "--plan", "plan"),
    ("limits", "--limit", "limits"),
    ("scopes", "--scope", "scopes"),
    ("cidrs", "--cidr", "allowed_cidrs"),
    ("hosts", "--host", "allowed_hosts"),
    ("origins", "--origin", "allowed_origins"),
    ("metadata", "--metadata", "metadata"),
)
LABELS: Final = {
    "client": "Client",
    "name": "Name",
    "tenant": "Tenant",
    "project": "Project",
    "plan": "Plan",
    "limits": "Limits",
    "scopes": "Scopes",
    "cidrs": "Networks",
    "hosts": "Hosts",
    "origins": "Origins",
    "metadata": "Metadata",
    "expires": "End",
}
_ERRORS: Final = {
    **{path: name for name, path in {**TEXTS, **LISTS}.items()},
    **{mask: name for name, _, mask in _OPTIONS},
    "expire_time": "expires",
    "ttl": "expires",
    "env": "env",
    "public": "public",
}


@dataclass(frozen=True, slots=True)
class KeyForm:
    """The texts of a form. Lists have one entry a line, metadata `name=value`.

    expires: a name of LIFETIMES, `never`, `keep`, or a day such as `2027-01-31`, which ends in UTC.
    """

    values: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def sent(cls, form: Form) -> "KeyForm":
        """Return the form that a visitor sent."""
        names = (*TEXTS, *LISTS, "metadata", "env", "public", "expires", "day")
        found = {name: form.get(name, ("",))[0].strip() for name in names}
        if found["expires"] == "day":
            found["expires"] = found["day"]
        return cls({name: text.replace("\r\n", "\n") for name, text in found.items()})

    @classmethod
    def of_key(cls, key: Mapping[str, Any]) -> "KeyForm":
        """Return the form that shows a key of the API."""
        found = {name: key.get(path, "") for name, path in TEXTS.items()}
        found |= {name: "\n".join(_items(key.get(path, ()))) for name, path in LISTS.items()}
        pairs = sorted(key.get("metadata", {}).items())
        found["metadata"] = "\n".join(f"{name}={value}" for name, value in pairs)
        return cls(found | {"expires": KEEP})

    def get(self, name: str) -> str:
        """Return the text of a field. Empty without one."""
        return self.values.get(name, "")

    def lines(self, name: str) -> list[str]:
        """Return the lines of a field that are not empty."""
        return [line.strip() for line in self.get(name).split("\n") if line.strip()]

    def key(self, names: Iterable[str] | None = None) -> dict[str, Any]:
        """Return the fields of the API's key. names: of these fields only; None: of all."""
        chosen = set(LABELS if names is None else names)
        found: dict[str, Any] = {
            path: self.get(name) for name, path in TEXTS.items() if name in chosen
        }
        found |= {path: self.lines(name) for name, path in LISTS.items() if name in chosen}
        if "limits" in found:
            found["limits"] = [{"spec": spec} for spec in found["limits"]]
        if "metadata" in chosen:
            found["metadata"] = dict(_pair(line) for line in self.lines("metadata"))
        if "expires" in chosen:
            found |= self._end()
        return {name: value for name, value in found.items() if value not in ("", [], {})}

    def changed(self, key: Mapping[str, Any]) -> list[str]:
        """Return the fields whose values are not those of a key of the API."""
        now = KeyForm.of_key(key)
        same = [name for name in LABELS if self.plain(name) == now.plain(name)]
        return [name for name in LABELS if name not in same]

    def mask(self, names: Iterable[str]) -> str:
        """Return the update mask for some fields."""
        masks = {name: mask for name, _, mask in _OPTIONS}
        end = "never_expires" if self.get("expires") == "never" else "expire_time"
        if self.get("expires") in _SECONDS:
            end = "ttl"
        return ",".join(masks.get(name, end) for name in names)

    def options(self, names: Iterable[str] | None = None) -> Iterator[str]:
        """Yield the options of a command for some fields; None: for all that have a value."""
        chosen = set(LABELS if names is None else names)
        for name, option, _ in _OPTIONS:
            values = self.plain(name)
            if name in chosen and not values and names is not None and name != "client":
                yield from ("--clear", option.removeprefix("--"))
            elif name in chosen:
                for value in values:
                    yield from (option, value)
        end = self.get("expires")
        if "expires" in chosen and end not in ("", KEEP):
            is_life = end in _SECONDS or end == "never"
            yield from ("--expires-in" if is_life else "--expires-at", _moment(end))

    def plain(self, name: str) -> list[str]:
        """Return the values of a field in a form that can be compared."""
        if name == "expires":
            return [] if self.get(name) in ("", KEEP) else [self.get(name)]
        if name in TEXTS:
            return [self.get(name)] if self.get(name) else []
        lines = self.lines(name)
        return lines if name == "limits" else sorted(lines)

    def _end(self) -> dict[str, Any]:
        end = self.get("expires")
        if end in ("", KEEP):
            return {}
        if end == "never":
            return {"neverExpires": True}
        return {"ttl": _SECONDS[end]} if end in _SECONDS else {"expireTime": _moment(end)}


def errors_of(fields: Mapping[str, str]) -> dict[str, str]:
    """Return the refusals of the API by the fields of the form; the others under `form`."""
    found: dict[str, str] = {}
    for path, text in fields.items():
        parts = [part.split("[")[0] for part in path.split(".")]
        name = next((_ERRORS[part] for part in reversed(parts) if part in _ERRORS), "form")
        found[name] = text if name != "form" else f"{path}: {text}"
    return found


def _items(values: Iterable[Any]) -> Iterator[str]:
    for value in values:
        yield value["spec"] if isinstance(value, Mapping) else str(value)


def _pair(line: str) -> tuple[str, str]:
    name, _, value = line.partition("=")
    return name.strip(), value.strip()


def _moment(end: str) -> str:
    """Return a day as its last second in UTC; other text unchanged."""
    is_day = len(end) == len("2027-01-31") and end.count("-") == 2  # noqa: PLR2004
    return f"{end}T23:59:59Z" if is_day else end
