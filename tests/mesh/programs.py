"""The programs of `make mesh`: each is found, or built from the Go module proxy into .mesh."""

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

CACHE: Final = Path(__file__).parents[2] / ".mesh"
ROOM: Final = 12 * 2**30  # bytes; what the module cache, the build cache and the programs take


@dataclass(frozen=True, slots=True)
class Program:
    """A Go program.

    shared: the version of the modules that its go.mod expects beside it. stamps: values of
    variables that only a release build sets.
    """

    name: str
    module: str
    version: str
    package: str
    shared: str = ""
    stamps: tuple[str, ...] = ()

    @property
    def built(self) -> Path:
        """Return where `build` puts it."""
        return CACHE / "bin" / f"{self.name}-{self.version}"

    def find(self) -> Path | None:
        """Return the program: that of an earlier build, else one of this name on the PATH."""
        if self.built.exists():
            return self.built
        found = shutil.which(self.name)
        return Path(found) if found else None

    def missing(self) -> str:
        """Return what a build lacks on this machine, or "" if it can begin."""
        if shutil.which("go") is None:
            return f"{self.name} (neither it nor Go is on the PATH)"
        room = shutil.disk_usage(CACHE.parent).free
        if room < ROOM:
            return f"{self.name} (its build needs {ROOM >> 30} GiB, {room >> 30} are free)"
        return ""

    def sources(self) -> Path:
        """Return the directory of its module. Raises CalledProcessError without the proxy."""
        CACHE.mkdir(exist_ok=True)
        command = ["go", "mod", "download", "-json", f"{self.module}@{self.version}"]
        done = subprocess.run(command, check=True, cwd=CACHE, stdout=subprocess.PIPE, env=_own())
        return Path(json.loads(done.stdout)["Dir"])

    def build(self) -> Path:
        """Build it with its own pinned dependencies, one process of the compiler at a time.

        Raises CalledProcessError if that fails.
        """
        sources, more = self.sources(), []
        if self.shared:
            more = ["-mod=mod", f"-modfile={self._modules(sources)}"]
        self.built.parent.mkdir(exist_ok=True)
        command = [
            "nice",
            "-n",
            "19",
            "go",
            "build",
            "-p",
            "1",
            "-trimpath",
            "-buildvcs=false",
            *more,
        ]
        command += ["-ldflags", " ".join(f"-X {stamp}" for stamp in self.stamps)]
        command += ["-o", str(self.built), f"./{self.package}"]
        subprocess.run(command, check=True, cwd=sources, env=_own())
        return self.built

    def _modules(self, sources: Path) -> Path:
        """Return a go.mod that takes from the proxy the modules that lie beside the real one."""
        place = CACHE / self.name
        place.mkdir(exist_ok=True)
        text = (sources / "go.mod").read_text()
        text = re.sub(r"(\S+) => \./staging/\S+", rf"\1 => \1 {self.shared}", text)
        (place / "go.mod").write_text(text)
        (place / "go.sum").write_bytes((sources / "go.sum").read_bytes())
        return place / "go.mod"


def _own() -> dict[str, str]:
    return os.environ | {"GOWORK": "off", "GOFLAGS": ""}


APISERVER: Final = Program(
    "kube-apiserver",
    "k8s.io/kubernetes",
    "v1.36.1",
    "cmd/kube-apiserver",
    shared="v0.36.1",
    # helm compares this version with that of the chart.
    stamps=(
        "k8s.io/component-base/version.gitVersion=v1.36.1",
        "k8s.io/component-base/version.gitMajor=1",
        "k8s.io/component-base/version.gitMinor=36",
    ),
)
ISTIOD: Final = Program(
    "pilot-discovery",
    "istio.io/istio",
    "v0.0.0-20260827124520-eed52ebb66ad",
    "pilot/cmd/pilot-discovery",
)
ENVOY_GATEWAY: Final = Program(
    "envoy-gateway", "github.com/envoyproxy/gateway", "v1.9.1", "cmd/envoy-gateway"
)
# Programs that are not built here, with the way to get each.
PACKAGES: Final = {
    "etcd": "Debian's package etcd-server",
    "kubectl": "Debian's package kubernetes-client",
    "helm": "CONTRIBUTING.md says how to get it",
}


def absent(*names: str) -> str:
    """Return which of these programs of PACKAGES are missing, and how to get them, or ""."""
    gone = [name for name in names if shutil.which(name) is None]
    return ", ".join(f"{name} ({PACKAGES[name]})" for name in gone)
