"""A real kube-apiserver with its etcd, without kubelets and controllers, on loopback ports."""

import json
import os
import ssl
import subprocess
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from authz.cli.child_processes import ChildProcesses
from authz.core.errors import Unavailable
from tests.mesh.certificates import signing_pair
from tests.support.real import free_port

TOKEN = "made-up-token-of-the-cluster-administrator"
SECONDS = 120  # for one command


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running API server. kubeconfig: a file for its administrator."""

    server: str
    kubeconfig: Path

    def kubectl(self, *words: str, objects: Iterable[Any] = ()) -> subprocess.CompletedProcess[str]:
        """Run kubectl with these objects as its standard input, and return how it ended."""
        return subprocess.run(
            ["kubectl", "--kubeconfig", str(self.kubeconfig), *words],
            check=False,
            input=yaml.safe_dump_all(objects),
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )

    def apply(self, objects: Iterable[Any], *words: str) -> str:
        """Apply objects and return what kubectl said. Raises AssertionError with a refusal."""
        done = self.kubectl("apply", "--server-side", *words, "-f", "-", objects=objects)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def get(self, *words: str) -> Any:
        """Return what `kubectl get` finds. Raises AssertionError if that is nothing."""
        done = self.kubectl("get", *words, "--output", "json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def namespace(self, name: str, **labels: str) -> None:
        """Make a namespace and what a controller makes in it."""
        self.apply([namespace(name, **labels)])
        self.account(name)

    def account(self, place: str) -> None:
        """Make the ServiceAccount `default` of a namespace, as a controller would."""
        meta = {"name": "default", "namespace": place}
        self.apply([{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta}])

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment variables with which kubectl and helm talk to this cluster."""
        home = str(self.kubeconfig.parent)
        return os.environ | {"KUBECONFIG": str(self.kubeconfig), "HOME": home}


def namespace(name: str, **labels: str) -> dict[str, Any]:
    """Return a Namespace."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


@contextmanager
def running(program: Path, directory: Path) -> Iterator[Cluster]:
    """Run etcd and the API server. Their data goes to `directory`."""
    client, peer, port = free_port(), free_port(), free_port()
    store = f"http://127.0.0.1:{client}"
    key, public = signing_pair(directory)
    tokens = directory / "tokens.csv"
    tokens.write_text(f"{TOKEN},admin,admin,system:masters\n")
    with ChildProcesses() as children:
        etcd = ["etcd", "--data-dir", str(directory / "etcd"), "--unsafe-no-fsync"]
        etcd += ["--listen-client-urls", store, "--advertise-client-urls", store]
        etcd += ["--listen-peer-urls", f"http://127.0.0.1:{peer}"]
        children.spawn("etcd", etcd)
        children.wait("etcd", lambda: _answers(f"{store}/health"))
        api = [str(program), "--etcd-servers", store, "--bind-address", "127.0.0.1"]
        api += ["--secure-port", str(port), "--cert-dir", str(directory / "serving")]
        api += ["--service-account-issuer", "https://kubernetes.default.svc"]
        api += ["--service-account-key-file", str(public)]
        api += ["--service-account-signing-key-file", str(key)]
        api += ["--service-cluster-ip-range", "10.96.0.0/16", "--token-auth-file", str(tokens)]
        api += ["--authorization-mode", "RBAC", "--endpoint-reconciler-type", "none"]
        children.spawn("kube-apiserver", api)
        server = f"https://127.0.0.1:{port}"
        _wait(children, server)
        yield Cluster(server, _kubeconfig(directory, server))


def _wait(children: ChildProcesses, server: str) -> None:
    for _ in range(9):  # nine times the 20 s of ChildProcesses: a loaded machine needs them
        try:
            children.wait("kube-apiserver", lambda: _answers(f"{server}/readyz"))
        except Unavailable:
            children.check_alive()
        else:
            return
    raise AssertionError("kube-apiserver is not ready")


def _answers(url: str) -> bool:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    asking = urllib.request.Request(url, headers={"authorization": f"Bearer {TOKEN}"})
    try:
        with urllib.request.urlopen(asking, timeout=5, context=context) as answer:
            return answer.status == 200
    except OSError:
        return False


def _kubeconfig(directory: Path, server: str) -> Path:
    file = directory / "kubeconfig"
    access = {"server": server, "insecure-skip-tls-verify": True}  # loopback, and for minutes
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "mesh",
        "clusters": [{"name": "mesh", "cluster": access}],
        "users": [{"name": "admin", "user": {"token": TOKEN}}],
        "contexts": [{"name": "mesh", "context": {"cluster": "mesh", "user": "admin"}}],
    }
    file.write_text(yaml.safe_dump(content))
    return file
