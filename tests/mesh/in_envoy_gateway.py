"""The probes of our overlay in Envoy Gateway."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from authz.cli import binaries
from authz.cli.child_processes import ChildProcesses
from tests.mesh import admission, envoy_gateway, probes, site
from tests.mesh.cluster import Cluster
from tests.mesh.envoy_gateway import SYSTEM
from tests.mesh.probes import awaited
from tests.mesh.programs import ENVOY_GATEWAY
from tests.mesh.rows import Row
from tests.support.deploy.image import may_mount
from tests.support.deploy.manifests import built

POLICIES: Final = ("envoypatchpolicy", "securitypolicy", "clienttrafficpolicy", "backend")


def lacks() -> str:
    """Return what this machine lacks, or ""."""
    if os.geteuid() != 0 or not may_mount():
        return "root and mount namespaces (unshare)"
    taken = [str(port) for port in envoy_gateway.PORTS if not _free(port)]
    return f"free ports for Envoy Gateway: {', '.join(taken)}" if taken else ""


def _free(port: int) -> bool:
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("", port))
        except OSError:
            return False
    return True


def probed(cluster: Cluster, directory: Path) -> Iterator[Row]:
    """Install Envoy Gateway and the overlay, and yield the rows of every probe."""
    program = ENVOY_GATEWAY.find()
    assert program is not None
    shipped = built("gateway")
    with (
        envoy_gateway.running(program, ENVOY_GATEWAY.sources(), cluster, directory),
        site.running(directory) as ours,
    ):
        cluster.apply(envoy_gateway.around(ours))
        words = ("apply", "--server-side", "-f", "-")
        done = cluster.kubectl(*words, objects=shipped)
        seen = "yes" if done.returncode == 0 else done.stderr.strip()[:300]
        yield Row("the overlay is accepted", "yes", seen)
        yield awaited("Envoy Gateway makes a Deployment", "yes", lambda: _made(cluster))
        yield awaited("policies that are not in force", "none", lambda: _faults(cluster))
        made = envoy_gateway.deployment(cluster)
        if made is None:
            return
        cluster.apply([admission.enforced(SYSTEM)])
        yield from admission.admitted(cluster, [made, *shipped], SYSTEM)
        yield admission.refused(cluster, SYSTEM)
        envoy = str(binaries.envoy())
        command = envoy_gateway.as_a_pod(made, cluster, ours, envoy, directory)
        with ChildProcesses() as children:
            children.spawn("envoy", command)
            log = children.log("envoy")
            yield from probes.requests(ours, log)
            yield from probes.cors(ours)
            yield probes.doctor(ours, "trailers")
            yield from probes.faults(ours)


def _made(cluster: Cluster) -> str:
    return "yes" if envoy_gateway.deployment(cluster) else "no"


def _faults(cluster: Cluster) -> str:
    return "; ".join(envoy_gateway.conditions(cluster, POLICIES)) or "none"
