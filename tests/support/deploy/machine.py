"""A clean machine without Docker and systemd: a root directory in namespaces of its own.

The machine shares the programs of this one and has its own /etc, /var, /run, /opt and /usr/local,
with a copy of this Python. `systemctl` is systemctl.py, and `apt-get install` only checks that a
package is installed. Processes and network are separate, so that every port is free. Only commands
that fetch Python packages use the network of this machine.
"""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.deploy import image

CHECKOUT = "/usr/src/authz"
CHECKED_OUT = ("pyproject.toml", "README.md", "LICENSE", "envoy.yaml", "authz", "deploy")
SHARED = (*(part for part in image.SYSTEM if part not in {"etc", "proc"}), "var/lib/dpkg")
NAMESPACES = ("--mount", "--pid", "--net", "--fork", "--kill-child", "--propagation=private")
OWN = ("run", "var/lib/dpkg", "var/lib/redis", "var/log", "root")
# Files that remain on this machine if somebody followed the run book on it.
INSTALLED = (
    "etc/authz",
    "etc/envoy",
    "etc/redis/authz-users.acl",
    "etc/redis/redis-authz.conf",
    "etc/systemd/system/authz@.service",
    "etc/systemd/system/authz@.service.d",
    "etc/systemd/system/authz-admin.service",
    "etc/systemd/system/authz-meter.service",
    "etc/systemd/system/envoy.service",
)
USERS = re.compile(r"^(authz|envoy):.*\n", re.MULTILINE)
SECONDS = 900.0  # limit for one block; installing packages can take minutes
# A sidecar without processor time may miss check.deadline and answer 503: then curl retries.
CURLRC = "retry = 20\nretry-max-time = 120\n"
DEBIAN = {"redis-server": "redis-server", "curl": "curl", "ip": "iproute2", "setpriv": "util-linux"}
FETCHES = ("pip install",)  # commands that need the network of this machine

APT_GET = """\
#!/bin/sh
for word; do
  case $word in install|update|-*|python3-venv) ;;  # this Python has venv
    *) dpkg-query --show "$word" >/dev/null || exit 100 ;;
  esac
done
"""
SYSTEMCTL = '#!/bin/sh\nexec /usr/local/bin/python3 /usr/local/lib/systemctl.py "$@"\n'


class Machine:
    """with Machine() as machine: machine.run("the commands of a block")"""

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="authz-machine-"))
        self.root.chmod(0o755)
        self._spawned: list[subprocess.Popen[bytes]] = []
        image.base(self.root)
        for part in OWN:
            (self.root / part).mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "--archive", "/etc", self.root], check=True)
        self._forget()
        (self.root / "root/.curlrc").write_text(CURLRC)
        shutil.chown(self.root / "var/lib/redis", "redis", "redis")
        self._programs()
        self._checkout()
        mounts = [f"mount --rbind /{part} {self.root}/{part}" for part in SHARED]
        mounts += [f"mount -t proc proc {self.root}/proc", "ip link set lo up"]
        mounts += [f"chroot {self.root} ldconfig", "echo up"]
        self._process = subprocess.Popen(
            ["unshare", *NAMESPACES, "sh", "-ec", "\n".join([*mounts, "exec cat"])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout.readline() == b"up\n"
        # The first process inside is the child of unshare.
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        self._first = children.read_text().split()[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.communicate()  # ends every process of the machine
        for spawned in self._spawned:
            spawned.wait()
        shutil.rmtree(self.root)

    def run(self, commands: str) -> str:
        """Run commands as root in the checkout and return their output. Fails if they fail."""
        done = subprocess.run(
            self._inside(commands), capture_output=True, text=True, check=False, timeout=SECONDS
        )
        assert done.returncode == 0, f"{commands}\n{done.stdout}{done.stderr}\n{self._logs()}"
        return done.stdout

    def spawn(self, commands: str) -> None:
        """Start commands that end with the machine."""
        self._spawned.append(subprocess.Popen(self._inside(commands), stderr=subprocess.DEVNULL))

    def _inside(self, commands: str) -> list[str]:
        namespaces = ["--mount", "--pid"]
        if not any(words in commands for words in FETCHES):
            namespaces.append("--net")
        path = "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        settings = [f"{name}={value}" for name, value in image.index().items()]
        env = ["env", "-i", path, "HOME=/root", *settings]
        script = f"cd {CHECKOUT}\n{commands}"
        enter = ["nsenter", "--target", self._first, *namespaces, "chroot", str(self.root)]
        return [*enter, *env, "bash", "-euo", "pipefail", "-c", script]

    def _forget(self) -> None:
        for name in INSTALLED:
            place = self.root / name
            if place.is_dir():
                shutil.rmtree(place)
            else:
                place.unlink(missing_ok=True)
        for name in ("passwd", "shadow", "group", "gshadow"):
            file = self.root / "etc" / name
            file.write_text(USERS.sub("", file.read_text()))

    def _programs(self) -> None:
        local = self.root / "usr/local"
        shutil.copyfile(Path(__file__).with_name("systemctl.py"), local / "lib/systemctl.py")
        for name, text in (("systemctl", SYSTEMCTL), ("apt-get", APT_GET)):
            (local / "bin" / name).write_text(text)
            (local / "bin" / name).chmod(0o755)

    def _checkout(self) -> None:
        place = self.root / CHECKOUT.lstrip("/")
        ignored = shutil.ignore_patterns("__pycache__")
        for name in CHECKED_OUT:
            origin = image.ROOT / name
            if origin.is_dir():
                shutil.copytree(origin, place / name, ignore=ignored)
            else:
                place.mkdir(parents=True, exist_ok=True)
                shutil.copy2(origin, place)

    def _logs(self) -> str:
        logs = sorted((self.root / "var/log").glob("*.service.log"))
        return "\n".join(f"{log.name}: {log.read_text()[-2000:]}" for log in logs)
