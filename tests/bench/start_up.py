"""The processor time of a command: of its start, because its work here is small.

    python -m tests.bench.start_up [ROUNDS]

Runs commands in turns against a Valkey of its own with one key, and beside them an interpreter that
imports redis-py alone. Compiled modules are used, as in an installation.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.bench.figures import machine, offer_record, record
from tests.bench.processor_time import child_seconds
from tests.support.real import Valkey

ROUNDS: Final = 21
AUTHZ: Final = (str(Path(sys.executable).with_name("authz")),)
LIBRARY: Final = "import redis.asyncio"
LIMIT: Final = 0.05  # seconds that a command of the store may take beside LIBRARY
LIMIT_WITHOUT: Final = 0.1  # seconds of a command that needs no store


def commands(kid: str) -> dict[str, Sequence[str]]:
    """Return the arguments of the interpreter for each measured command."""
    store = {
        "list": ("keys", "list"),
        "show": ("keys", "show", kid),
        "revoke": ("keys", "revoke", kid),
    }
    light = {
        "help": ("keys", "list", "--help"),
        "refusal": ("keys", "list", "--nonsense"),
    }
    return {LIBRARY: ("-c", LIBRARY)} | {
        name: (*AUTHZ, *words) for name, words in (store | light).items()
    }


def seconds(arguments: Sequence[str], directory: Path, environment: Mapping[str, str]) -> float:
    """Run an interpreter, and return its processor time in user and system mode."""
    before = child_seconds()
    subprocess.run(
        [sys.executable, *arguments],
        cwd=directory, env=environment, capture_output=True, check=False,
    )  # fmt: skip
    return child_seconds() - before


def measure(rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each command in each round. Round 0, which compiles, is left out."""
    with Valkey() as valkey, tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        environment = os.environ | {
            "AUTHZ_REDIS__URL": valkey.url,
            "PYTHONPYCACHEPREFIX": str(directory / "compiled"),
        }
        environment.pop("PYTHONDONTWRITEBYTECODE", None)

        def answer(*words: str) -> str:
            done = subprocess.run(
                [sys.executable, *AUTHZ, *words],
                cwd=directory, env=environment, capture_output=True, text=True, check=True,
            )  # fmt: skip
            return done.stdout

        answer("init")
        kid = answer("keys", "issue", "--client", "bench").split("_")[2]
        taken: dict[str, list[float]] = {name: [] for name in commands(kid)}
        for at in range(rounds + 1):
            for command, arguments in commands(kid).items():
                spent = seconds(arguments, directory, environment)
                if at:
                    taken[command].append(spent)
    return taken


def main() -> None:
    """Measure, print, and say whether the commands are within their limits."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("rounds", type=int, nargs="?", default=ROUNDS)
    offer_record(parser)
    given = parser.parse_args()
    taken = measure(given.rounds)
    medians = {name: statistics.median(times) for name, times in taken.items()}
    library, good = medians[LIBRARY], True
    print(f"processor time, median of {given.rounds} (lowest to highest), in s")
    for name, times in taken.items():
        print(f"{name:<22}  {medians[name]:.3f}  ({min(times):.3f} to {max(times):.3f})")
        limit = LIMIT_WITHOUT if name in {"help", "refusal"} else library + LIMIT
        good = good and medians[name] <= limit
    print(machine())
    if given.record:
        record({f"start.{name}": taken[name] for name in ("list", "show", "revoke", "help")})
        record({"start.library": taken[LIBRARY]})
    raise SystemExit(0 if good else 1)


if __name__ == "__main__":
    main()
