"""The `rotation` section: how often keys need a new secret, and where new secrets are taken."""

from typing import TYPE_CHECKING, Annotated, Final, Literal

from authz.settings.parsers import AtMost, Between, Refused
from authz.settings.sections import Section
from authz.settings.sources import Location
from authz.settings.values import (
    File,
    FillableName,
    FillablePath,
    HttpUrl,
    Id,
    Line,
    Networks,
    SinkName,
    fetchable,
    seconds,
)

if TYPE_CHECKING:  # most commands do not need this module
    from authz.core.rotation import RotationPolicies, RotationPolicy

Before = Annotated[float, seconds("1h", "365d")]
_OF_KIND: Final = {
    "kubernetes": {"namespace", "name", "entry", "url", "token_file", "ca"},
    "vault": {"url", "token_file", "ca", "mount", "path", "vault_namespace"},
    "webhook": {"url", "secret_file", "ca"},
    "directory": {"directory"},
}
_NEEDED: Final = {
    "kubernetes": ("namespace",),
    "vault": ("url", "token_file"),
    "webhook": ("url", "secret_file"),
    "directory": ("directory",),
}


class Target(Section):
    """A place to which new secrets are taken. A setting of another kind is refused."""

    kind: Literal["kubernetes", "vault", "webhook", "directory"]
    url: Annotated[HttpUrl, fetchable] | None = None
    ca: File | None = None
    token_file: File | None = None
    secret_file: File | None = None
    namespace: SinkName | None = None
    name: FillableName = "authz-{client}"
    entry: FillableName = "{kid}"
    mount: FillablePath = "secret"
    path: FillablePath = "authz/{client}/{kid}"
    vault_namespace: Line = ""
    directory: File | None = None

    def check_together(self) -> None:
        """Raise ValueError if the kind lacks a setting or has one of another kind."""
        other = sorted(vars(self).keys() - {"kind"} - _OF_KIND[self.kind])
        if other:
            raise ValueError(f"{self.kind} has no {', '.join(other)}")
        missing = [name for name in _NEEDED[self.kind] if getattr(self, name) is None]
        if missing:
            raise ValueError(f"{self.kind} needs {' and '.join(missing)}")
        if self.kind == "kubernetes" and (self.url is None) != (self.token_file is None):
            raise ValueError("kubernetes takes url and token_file together, or neither in a pod")


class Policy(Section):
    """A policy. remind: times before the due time.

    retire_after: an old secret ends early if only the new one was used for so long; None: never.
    to: the target to which due keys get a new secret by themselves; None: a person rotates them.
    overlap: how long the old secret then works after the delivery.
    """

    rotate_every: Annotated[float, seconds("1d", "3650d")] = 90 * 86_400.0
    remind: tuple[Before, ...] = (14 * 86_400.0, 3 * 86_400.0)
    retire_after: Annotated[float, seconds("1h", "30d")] | None = None
    to: SinkName | None = None
    overlap: Annotated[float, seconds("0s", "30d")] = 7 * 86_400.0

    def value(self) -> "RotationPolicy":
        """Return the policy as a value of the core."""
        from authz.core.rotation import RotationPolicy  # noqa: PLC0415

        return RotationPolicy(
            round(self.rotate_every * 1000),
            tuple(round(one * 1000) for one in self.remind),
            None if self.retire_after is None else round(self.retire_after * 1000),
            self.to or "",
            round(self.overlap * 1000),
        )


class Rotation(Section):
    """Rotation policies by plan, and one for all other keys. targets: places of new secrets."""

    plans: dict[Id, Policy] = {}
    default: Policy | None = None
    targets: Annotated[dict[SinkName, Target], AtMost(32)] = {}
    allowed_networks: Networks = ()
    max_per_hour: Annotated[int, Between(0, 1_000_000)] = 100

    def check_together(self) -> None:
        """Raise Refused if a policy names a target that is not there."""
        policies: dict[Location, Policy] = {
            ("plans", name): one for name, one in self.plans.items()
        }
        if self.default:
            policies["default",] = self.default
        unknown = [
            ((*place, "to"), f"rotation.targets has no {one.to}")
            for place, one in policies.items()
            if one.to and one.to not in self.targets
        ]
        if unknown:
            raise Refused(unknown)

    def policies(self) -> "RotationPolicies":
        """Return the policies as values of the core."""
        from authz.core.rotation import RotationPolicies  # noqa: PLC0415

        plans = {name: one.value() for name, one in self.plans.items()}
        return RotationPolicies(plans, self.default.value() if self.default else None)
