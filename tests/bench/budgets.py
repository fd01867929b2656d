"""A Check with a budget and a lease in hand: `python -m tests.bench.budgets`.

It is compared with a Check of a key without limits on the same route, bytes to bytes. The route has
a variable, an estimate and prices; the key has a budget of tokens, one of money, and a quota.
"""

import asyncio

from authz.core.budgets.prices import Price, PriceBook, PriceVersion
from authz.core.budgets.spending import Spending
from authz.core.limits.charge import limit_result
from authz.core.limits.limit import parse_limits
from authz.core.route_facts import Facts
from authz.core.route_rule import Rule
from authz.core.routes import RouteTable
from authz.rpc.check.extract import Extractor
from authz.rpc.check.handler import CheckHandler, NullObserver
from authz.rpc.check.pricing import Pricing
from tests.bench.check_hot import Hot, measure
from tests.support.fakes import make_keyring

BOUND = 1.6
PATH = "/v1/models/{model}:generateContent"
BUDGETS = ("1000000000000/month,of=tokens", "1000000/month,of=usd", "1000000000/month")
PRICES = PriceVersion("v1", 0, {"gemini-pro": Price(*[150_000] * 5)}, None)


class OnLlmRoute(Hot):
    """The door of the other benchmark, with a route that spends from budgets."""

    def __init__(self, *limits: str) -> None:
        super().__init__(limits=parse_limits("limits", limits))
        facts = Facts(spending=Spending(800, model_variable=True), label="generate")
        self.extractor = Extractor(
            make_keyring(),
            carriers=("x-api-key:", "authorization:bearer"),
            rules=RouteTable([Rule.parse("routes", PATH, "", (), facts)]),
            pricing=Pricing(PriceBook([PRICES]), self.clock.wall_ms),
        )
        self.door = CheckHandler(
            self.extractor, self.checker, self.responder, self.probe, NullObserver()
        )
        if limits:
            asyncio.run(self.take_lease())

    async def take_lease(self) -> None:
        """Take a lease that never ends."""
        cost = self.extractor.read(self.requests["map"]).route.cost
        await self.limiter.spend(self.record, cost)
        state = self.limiter._find((self.record.kid, cost))
        state.left, state.until = 10**12, float("inf")
        state.lease_result = state.lease_result or limit_result(state.charge, state.last_reply)


def budget_ratio(repeats: int, number: int) -> dict[str, float]:
    """Microseconds of both, and their ratio: measured in turn, the median of all pairs."""
    free, budgeted = OnLlmRoute(), OnLlmRoute(*BUDGETS)
    if b"reserved" not in budgeted.door.check(budgeted.requests["map"]):
        raise SystemExit("the request to be measured takes nothing from a budget")
    found = measure(
        {
            "free": lambda: free.door.check(free.requests["map"]),
            "whole": lambda: budgeted.door.check(budgeted.requests["map"]),
        },
        repeats,
        number,
        unit="free",
    )
    return {"free": found["free"], "budgets": found["whole"], "ratio": found["ratio"]}


def main() -> None:
    """Print the figures. Exit 1 if the ratio is above BOUND (1.6)."""
    found = budget_ratio(200, 200)
    print(f"without limits {found['free']:.2f} us, with budgets {found['budgets']:.2f} us")
    print(f"ratio {found['ratio']:.2f} (limit {BOUND})")
    raise SystemExit(found["ratio"] > BOUND)


if __name__ == "__main__":
    main()
