"""Measures what a flood of forged tokens costs good keys: `python -m tests.bench.token_flood`.

The sidecar of tests.bench.flood, with a signing key. The tokens are forged as well as can be
without the pepper: the header is that of the signing key, which is public, the claims are good, and
each token is another. Only the tag is wrong. They come at RATE a second. Beside them good keys are
sent at random times, a twentieth of that. `as good`: as many good keys instead of forged tokens.
commands: those of the store in a second of the flood, more than in a second without it. late: the
p99 by which the load itself was late, in the worst look.
"""

import argparse
import asyncio
import secrets
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

from authz.core.tokens.text import encoded, new_token_id, unsigned
from authz.settings import model
from authz.storage.signing_keys import StoredSigningKeys
from authz.wiring.administration import keyring, our_store
from tests.bench.figures import machine
from tests.bench.flood import KEYS, Flooded
from tests.support.fakes import make_keyring
from tests.support.real import RealClock
from tests.support.tokens import AUDIENCE, ISSUER, KEY_ID, claims, signing_key

RATE = 20_000  # forged tokens a second
MOST = 1.5  # p99 of good keys beside forged tokens, beside as many good keys
SETTINGS = {"tokens": {"issuer": ISSUER, "audiences": [AUDIENCE]}}
COMMANDS = 20  # a second, more than without the flood


def forged_tokens(file: Path) -> Iterator[str]:
    """Publish a signing key, and yield tokens with its header and a wrong tag."""
    asyncio.run(_publish(model.load(file, environ={})))
    ring, now = make_keyring(issuer=ISSUER), RealClock().wall_ms() // 1000
    for _ in range(KEYS):
        given = claims(
            issued_at=now, not_before=now, expires_at=now + 900, token_id=new_token_id("1")
        )
        signed, _ = unsigned(given, KEY_ID, ring.token_tags["1"])
        yield f"{signed}.{encoded(secrets.token_bytes(63) + bytes(1))}"


async def _publish(settings: model.Settings) -> None:
    ring = keyring(settings)
    async with our_store(settings, ring) as (client, _):
        entry = ring.signing_entries.write(signing_key(signs_from=0))
        await StoredSigningKeys(client).add(KEY_ID, entry, "")


def metric(server: Flooded, name: str, **labels: str) -> float:
    """Return the value of a metric of the sidecar, summed over the other labels."""
    with urlopen(f"{server.ops}/metrics", timeout=10) as answer:
        families = text_string_to_metric_families(answer.read().decode())
        return sum(
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )


def commands_of(server: Flooded) -> int:
    """Return how many commands the store has processed."""
    return server.store.admin.info("stats")["total_commands_processed"]


def run(seconds: float, rounds: int, rate: float) -> dict[str, float]:
    """Return the figures. Each p99 is measured for so many seconds a round; medians count."""
    with ExitStack() as stack:
        server = Flooded(stack, SETTINGS, forged_tokens)
        server.saturation(1)  # every good key has been seen once
        most = server.saturation(2, garbage=True)
        taken: dict[str, list[float]] = {"alone": [], "forged": [], "as good": []}
        commands: dict[str, list[float]] = {name: [] for name in taken}
        forged = metric(server, "authz_checks_total", reason="forged")
        beside: dict[str, float | None] = {"alone": None, "forged": rate, "as good": rate}
        for _ in range(rounds):
            for name, more in beside.items():
                began, before = time.monotonic(), commands_of(server)
                found = server.p99(rate / 20, seconds, more, garbage=name == "forged")
                taken[name].append(found)
                elapsed = time.monotonic() - began
                commands[name].append((commands_of(server) - before) / elapsed)
        forged = metric(server, "authz_checks_total", reason="forged") - forged
        signatures = metric(server, "authz_token_signatures_total")
    pairs = list(zip(taken["forged"], taken["as good"], strict=True))
    more = statistics.median(commands["forged"]) - statistics.median(commands["alone"])
    figures = {f"p99 {name}, ms": statistics.median(p99) * 1000 for name, p99 in taken.items()}
    return figures | {
        "saturation": most,
        "rate": forged / seconds / rounds,
        "ratio": statistics.median(one / other for one, other in pairs),
        "signatures": signatures,
        "commands": more,
        "late, ms": server.late * 1000,
    }


def main() -> None:
    """Measure, and exit with 1 if a figure is over its limit."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=3, help="for each latency")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--rate", type=float, default=RATE, help="forged tokens a second")
    given = parser.parse_args()
    found = run(given.seconds, given.rounds, given.rate)
    for name, value in found.items():
        print(f"{name:16} {value:10.2f}")
    print(f"limits: ratio {MOST}, signatures 0, commands {COMMANDS}\n{machine()}")
    bad = found["ratio"] > MOST or found["signatures"] > 0 or found["commands"] > COMMANDS
    raise SystemExit(bad)


if __name__ == "__main__":
    main()
