"""Measures both transports with h2load: `python -m tests.bench.h2load`.

h2load (Debian's nghttp2-client) asks real sidecars, and servers that give a constant answer, in
turn: saturated, and one call after the other, with percentiles from its log of every call. Each
server has a core for itself, with all its threads; h2load has the other. Medians of several rounds.
Without h2load this says so, and measures nothing.
"""

import argparse
import json
import math
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.bench.figures import machine, offer_record, record
from tests.bench.measured import GRPC, Bench, Server, medians

SATURATED, ALONE = (2, 16), (1, 1)  # connections, calls at a time on each
PERCENTILES = (50, 99, 99.9)
MISSING = "h2load is not installed: apt-get install nghttp2-client"


def asked(server: Server, body: bytes, load: tuple[int, int], seconds: float) -> dict[str, float]:
    """Return calls a second and percentiles in microseconds, without the first fifth."""
    connections, at_a_time = load
    headers = [f"-H{name}: {value}" for name, value in GRPC if not name.startswith(":")]
    path = dict(GRPC)[":path"]
    with TemporaryDirectory(prefix="authz-") as directory:
        message, log = Path(directory) / "message", Path(directory) / "log"
        message.write_bytes(body)
        command = ["h2load", f"-c{connections}", f"-m{at_a_time}", f"-D{seconds * 1000:.0f}ms"]
        command += [f"--warm-up-time={seconds * 200:.0f}ms", f"-d{message}", f"--log-file={log}"]
        subprocess.run(
            [*command, *headers, f"http://{server.address}{path}"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        return _told(log, seconds)


def _told(log: Path, seconds: float) -> dict[str, float]:
    """Return the log: for each call its time, its HTTP status and its microseconds."""
    times = []
    for line in log.read_text().splitlines():
        _, status, microseconds = line.split("\t")
        if status != "200":
            raise SystemExit(f"h2load: a call ended with status {status}")
        times.append(int(microseconds))
    times.sort()
    found = {"calls a second": len(times) / seconds}
    for percent in PERCENTILES:
        rank = math.ceil(len(times) * percent / 100)  # nearest rank
        found[f"p{percent:g}"] = float(times[rank - 1])
    return found


def measure(bench: Bench, rounds: int, seconds: float) -> dict[str, dict[str, dict[str, float]]]:
    """Return the figures of each server, saturated and with one call in flight."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name, load in (("saturated", SATURATED), ("one in flight", ALONE)):
        taken: dict[str, list[dict[str, float]]] = {}
        for _ in range(rounds):
            for which, server in bench.all().items():
                figures = asked(server, bench.plain.body, load, seconds)
                taken.setdefault(which, []).append(figures)
        found[name] = {which: medians(each) for which, each in taken.items()}
    return found


def show(found: dict[str, dict[str, dict[str, float]]]) -> None:
    """Print the ratios, then the figures."""
    for name, servers in found.items():
        fast, grpcio = servers["fast"], servers["grpcio"]
        ratios = (f"{what} {fast[what] / grpcio[what]:.2f}" for what in fast)
        print(f"{name}: fast / grpcio: {', '.join(ratios)}")
        for which, figures in servers.items():
            told = (f"{what} {value:,.0f}" for what, value in figures.items())
            print(f"    {which:<16} {', '.join(told)}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    offer_record(parser)
    given = parser.parse_args()
    if shutil.which("h2load") is None:
        print(MISSING)
        return
    with ExitStack() as stack:
        found = measure(Bench(stack), given.rounds, given.seconds)
    if given.record:
        fast, grpcio = (found["saturated"][name]["calls a second"] for name in ("fast", "grpcio"))
        record({"h2load.ratio": fast / grpcio})
    document: dict[str, Any] = {"machine": machine(), "figures": found}
    if given.json:
        print(json.dumps(document))
        return
    show(found)
    print(f"\n{document['machine']}; percentiles in microseconds")


if __name__ == "__main__":
    main()
