"""Run the probes of `make mesh` and print a table: `python -m tests.mesh [--no-build]`.

It ends with status 1 if an answer is not the wanted one. A missing part is skipped and named.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from tests.mesh import cluster, in_istio, in_kubernetes, in_standalone
from tests.mesh.probes import Row
from tests.mesh.programs import APISERVER, ISTIOD, Program, absent

Part = Callable[[cluster.Cluster, Path], Iterator[Row]]

# Each part with the program and the other programs that it needs beside the API server.
PARTS: Final[dict[str, tuple[Part, Program | None, tuple[str, ...]]]] = {
    "Kubernetes": (in_kubernetes.probed, None, ("helm",)),
    "Envoy of its own": (in_standalone.probed, None, ()),
    "Istio": (in_istio.by_overlay, ISTIOD, ("helm",)),
    "Istio, by the chart": (in_istio.by_chart, ISTIOD, ("helm",)),
}


def main() -> int:
    """Run every part that can run. Return the exit status."""
    reader = argparse.ArgumentParser(prog="python -m tests.mesh", description=__doc__)
    reader.add_argument("--no-build", action="store_true", help="use only programs that are there")
    reader.add_argument("--part", choices=list(PARTS), help="run this part only")
    said = reader.parse_args()
    failed = 0
    for name, (part, program, others) in PARTS.items():
        if said.part in (None, name):
            failed += _run(name, part, program, others, may_build=not said.no_build)
    return 1 if failed else 0


def _run(
    name: str, part: Part, program: Program | None, others: tuple[str, ...], *, may_build: bool
) -> int:
    """Run a part in a cluster of its own, and print its rows. Return how many did not hold."""
    print(f"\n{name}")
    gone = absent("etcd", "kubectl", *others)
    for one in (APISERVER, program) if not gone else ():
        if one is not None:
            gone = gone or _provided(one, may_build=may_build)
    if gone:
        print(f"  skipped: needs {gone}")
        return 0
    failed = 0
    with tempfile.TemporaryDirectory(prefix="authz-mesh-") as made:
        server = APISERVER.find()
        assert server is not None
        with cluster.running(server, Path(made)) as running:
            for row in part(running, Path(made)):
                failed += not row.held
                told = row.seen if row.held else f"{row.seen}   WANTED {row.wanted}"
                print(f"  {'ok  ' if row.held else 'FAIL'}  {row.name:44}  {told}", flush=True)
    return failed


def _provided(program: Program, *, may_build: bool) -> str:
    """Find or build a program. Return what is missing, or ""."""
    if program.find():
        return ""
    if not may_build:
        return f"{program.name} (make mesh builds it)"
    if gone := program.missing():
        return gone
    print(f"  building {program.name} {program.version}, once; this takes minutes", flush=True)
    try:
        program.build()
    except subprocess.CalledProcessError as failure:
        return f"{program.name} (its build ended with status {failure.returncode})"
    return ""


if __name__ == "__main__":
    sys.exit(main())
