"""The `rotation` section: how often keys need a new secret."""

from typing import TYPE_CHECKING, Annotated

from authz.settings.sections import Section
from authz.settings.values import Id, seconds

if TYPE_CHECKING:  # most commands do not need this module
    from authz.core.rotation import RotationPolicies, RotationPolicy

Before = Annotated[float, seconds("1h", "365d")]


class Policy(Section):
    """A policy. remind: times before the due time.

    retire_after: an old secret ends early if only the new one was used for so long; None: never.
    """

    rotate_every: Annotated[float, seconds("1d", "3650d")] = 90 * 86_400.0
    remind: tuple[Before, ...] = (14 * 86_400.0, 3 * 86_400.0)
    retire_after: Annotated[float, seconds("1h", "30d")] | None = None

    def value(self) -> "RotationPolicy":
        """Return the policy as a value of the core."""
        from authz.core.rotation import RotationPolicy  # noqa: PLC0415

        return RotationPolicy(
            round(self.rotate_every * 1000),
            tuple(round(one * 1000) for one in self.remind),
            None if self.retire_after is None else round(self.retire_after * 1000),
        )


class Rotation(Section):
    """Rotation policies by plan, and one for all other keys."""

    plans: dict[Id, Policy] = {}
    default: Policy | None = None

    def policies(self) -> "RotationPolicies":
        """Return the policies as values of the core."""
        from authz.core.rotation import RotationPolicies  # noqa: PLC0415

        plans = {name: one.value() for name, one in self.plans.items()}
        return RotationPolicies(plans, self.default.value() if self.default else None)
