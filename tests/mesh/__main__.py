"""Run the probes of `make mesh` and print a table: `python -m tests.mesh [--no-build]`.

It ends with status 1 if an answer is not the wanted one. A missing part is skipped and named.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.mesh import cluster, in_envoy_gateway, in_istio, in_kubernetes, in_standalone
from tests.mesh.programs import APISERVER, ENVOY_GATEWAY, ISTIOD, Program, absent
from tests.mesh.rows import Row


def _nothing() -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Part:
    """Probes, with what they need beside the API server.

    program: found or built. others: programs of PACKAGES. lacks: returns what else is missing, or
    "".
    """

    probed: Callable[[cluster.Cluster, Path], Iterator[Row]]
    program: Program | None = None
    others: tuple[str, ...] = ()
    lacks: Callable[[], str] = _nothing


PARTS: Final = {
    "Kubernetes": Part(in_kubernetes.probed, others=("helm",)),
    "Envoy of its own": Part(in_standalone.probed),
    "Istio": Part(in_istio.by_overlay, ISTIOD, ("helm",)),
    "Istio, by the chart": Part(in_istio.by_chart, ISTIOD, ("helm",)),
    "Envoy Gateway": Part(in_envoy_gateway.probed, ENVOY_GATEWAY, lacks=in_envoy_gateway.lacks),
}


def main() -> int:
    """Run every part that can run. Return the exit status."""
    reader = argparse.ArgumentParser(prog="python -m tests.mesh", description=__doc__)
    reader.add_argument("--no-build", action="store_true", help="use only programs that are there")
    reader.add_argument("--part", choices=list(PARTS), help="run this part only")
    said = reader.parse_args()
    failed = 0
    for name, part in PARTS.items():
        if said.part in (None, name):
            failed += _run(name, part, may_build=not said.no_build)
    return 1 if failed else 0


def _run(name: str, part: Part, *, may_build: bool) -> int:
    """Run a part in a cluster of its own, and print its rows. Return how many did not hold."""
    print(f"\n{name}")
    gone = absent("etcd", "kubectl", *part.others) or part.lacks()
    for one in (APISERVER, part.program):
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
            for row in part.probed(running, Path(made)):
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
