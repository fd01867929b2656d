"""Figures of `python -m tests.bench.thousand_sidecars`, and their bars."""

from typing import Any

SUSTAINED = 50  # changes a second
SIZES = (100, 300, 1000, 3000)  # sidecars
BEATS = 4  # heartbeats a second, with the default lease of 1 s
MICRO = 1_000_000
MOST_APPLIED_MS = 50.0  # until a change is applied everywhere, p99
MOST_IDLE = 10.0  # percent of one core
MOST_RECONNECT = 10.0  # seconds
LEAST_SUSTAINED = 0.98 * SUSTAINED


def figures(found: dict[str, Any]) -> dict[str, float]:
    """Return the published figures: what each thing costs the store's core, and how long it takes.

    Of each stage the cost of its heartbeats is taken off.
    """
    idle, links = found["idle"], found["links"]
    beat = idle["store_seconds"] / idle["heartbeats"]

    def cost(stage: str, count: float) -> float:
        used = found[stage]["store_seconds"] - found[stage]["heartbeats"] * beat
        return used / count * MICRO

    single = cost("single changes", found["single changes"]["changes"] * links)
    costs = {
        "heartbeat": beat * MICRO,
        "change": single,
        "sustained.change": cost(
            "sustained changes", found["sustained changes"]["changes"] * links
        ),
        "lease": cost("leases", found["leases"]["questions"]),
    }
    shares = {
        f"share.{count}.{name}": 100 * count * (BEATS * beat + rate * single / MICRO)
        for count in SIZES
        for name, rate in (("idle", 0), ("busy", 1))
    }
    times = {
        f"{name}.{part}": found[f"{name} changes"]["last_ms"][part]
        for name in ("single", "sustained")
        for part in ("p50", "p99")
    }
    others = {
        "confirmed.p50": found["confirmed_by_all_ms"]["p50"],
        "reconnect": found["reconnect"]["seconds_until_all_trusted"],
        "reconnect.busiest": found["reconnect"]["most_links_in_100_ms"],
        "lease.p99": found["leases"]["wait_ms"]["p99"],
    }
    return {f"thousand.{name}": value for name, value in (costs | shares | times | others).items()}


def bars(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return each figure that has a bar, its bar, and whether that holds."""
    published, links = figures(found), found["links"]
    values = {
        "idle heartbeats, % of a core": (
            links * BEATS * published["thousand.heartbeat"] * 100 / MICRO,
            MOST_IDLE,
        ),
        "a change everywhere, p99 in ms": (published["thousand.single.p99"], MOST_APPLIED_MS),
        "all trusted again, s": (published["thousand.reconnect"], MOST_RECONNECT),
        "links in 100 ms": (published["thousand.reconnect.busiest"], links / 2),
    }
    rate = found["sustained changes"]["changes_a_second"]
    judged = {
        name: {"found": round(value, 2), "at most": bar, "holds": value <= bar}
        for name, (value, bar) in values.items()
    }
    holds = rate >= LEAST_SUSTAINED
    return judged | {
        "changes a second": {"found": rate, "at least": LEAST_SUSTAINED, "holds": holds}
    }
