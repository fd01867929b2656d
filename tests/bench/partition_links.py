"""The cost of an idle sidecar with 1, 8 and 48 partitions: `python -m tests.bench.partition_links`.

A sidecar has two links to each partition: one for records and changes, which carries four
heartbeats a second, and one for limits. Figures are CPU times of one sidecar and of the store.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from authz.core.partitions import COUNTS
from authz.settings import model
from tests.support.real import PATIENCE, PAUSE, Valkey
from tests.support.serving import Serving
from tests.support.storage.divided import issued_in_each

TICKS = os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--seconds", type=float, default=20)
    given = parser.parse_args()
    print(json.dumps([measured(count, given.seconds) for count in COUNTS], indent=1))


def measured(count: int, seconds: float) -> dict[str, Any]:
    """Return the cost of an idle sidecar with so many partitions, measured for this time."""
    with tempfile.TemporaryDirectory() as directory, Valkey() as valkey:
        more = {"redis": {"partitions": count}}
        with Serving(Path(directory), valkey, more) as sidecar:
            issued_in_each(model.load(sidecar.file, environ={}))
            end = time.monotonic() + PATIENCE
            while not _is_trusted(sidecar):
                assert time.monotonic() < end
                time.sleep(PAUSE)
            began, store, own = time.monotonic(), _cpu(valkey), _ticks(sidecar.pid)
            time.sleep(seconds)
            passed = time.monotonic() - began
            return {
                "partitions": count,
                "connections": len(valkey.admin.client_list()) - 1,
                "store_percent": round((_cpu(valkey) - store) / passed * 100, 2),
                "sidecar_percent": round((_ticks(sidecar.pid) - own) / TICKS / passed * 100, 2),
                "sidecar_mib": round(_rss_kib(sidecar.pid) / 1024, 1),
            }


def _is_trusted(sidecar: Serving) -> bool:
    store = sidecar.look()[1].get("components", {}).get("store", {})
    return bool(store.get("trusted")) and not store.get("untrusted")


def _cpu(valkey: Valkey) -> float:
    """Return the CPU seconds of the store so far."""
    found = valkey.admin.info("cpu")
    return float(found["used_cpu_sys"]) + float(found["used_cpu_user"])


def _ticks(pid: int) -> int:
    """Return the CPU ticks of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def _rss_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))


if __name__ == "__main__":
    main()
