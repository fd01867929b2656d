"""The section `prices`: what models cost, in versions."""

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Annotated, Literal

from authz.core.errors import BadInput
from authz.settings.parsers import AtMost, Between, Read
from authz.settings.sections import Section
from authz.settings.values import ModelName, PriceLabel

if TYPE_CHECKING:  # only a sidecar needs them
    from authz.core.budgets.prices import Price, PriceBook, PriceVersion

Micro = Annotated[int, Between(0, 1_000_000_000_000)]


class ModelPrice(Section):
    """The price of a model, in micro-dollars for a million tokens; per_request: for a request.

    cached, cache_write: by default as `input`. reasoning: by default as `output`.
    """

    input: Micro
    output: Micro
    cached: Micro | None = None
    cache_write: Micro | None = None
    reasoning: Micro | None = None
    per_request: Micro = 0

    def price(self) -> "Price":
        """Return the price with its defaults filled in."""
        from authz.core.budgets.prices import Price  # noqa: PLC0415

        cached = self.input if self.cached is None else self.cached
        written = self.input if self.cache_write is None else self.cache_write
        reasoning = self.output if self.reasoning is None else self.reasoning
        return Price(self.input, self.output, cached, written, reasoning, self.per_request)


def _start(value: object) -> datetime:
    """Return the time of a YAML date or of text as RFC 3339 has it, a date alone as midnight."""
    try:
        if isinstance(value, str | date):
            return datetime.fromisoformat(str(value))
    except ValueError:
        pass
    raise ValueError("a time, such as 2026-11-01T00:00:00Z")


class PricesFrom(Section):
    """One version of the prices. `start`: the time from which it is in force, in UTC."""

    version: PriceLabel
    start: Annotated[datetime, Read(_start)] = datetime(1970, 1, 1, tzinfo=UTC)
    models: dict[ModelName, ModelPrice] = {}
    default: ModelPrice | None = None

    def prices(self, unknown_model: str) -> "PriceVersion":
        """Return the version. unknown_model: as in Prices."""
        from authz.core.budgets.prices import PriceVersion  # noqa: PLC0415

        start = self.start if self.start.tzinfo else self.start.replace(tzinfo=UTC)
        default = self.default if unknown_model == "default" else None
        return PriceVersion(
            self.version,
            round(start.timestamp() * 1000),
            {name: price.price() for name, price in self.models.items()},
            default.price() if default else None,
        )


class Prices(Section):
    """The prices of models. unknown_model: price of a model that a version does not name.

    `default` takes the version's default price; without one, and with `refuse`, the request gets
    403.
    """

    unknown_model: Literal["default", "refuse"] = "default"
    versions: Annotated[tuple[PricesFrom, ...], AtMost(1000)] = ()

    def check_together(self) -> None:
        """Raise ValueError if two versions have one name or begin at one time."""
        try:
            self.book()
        except BadInput as cause:
            raise ValueError(cause.problem) from None

    def book(self) -> "PriceBook":
        """Return all versions. Raises BadInput if two have one name or begin at one time."""
        from authz.core.budgets.prices import PriceBook  # noqa: PLC0415

        return PriceBook([each.prices(self.unknown_model) for each in self.versions])
