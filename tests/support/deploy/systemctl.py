"""`systemctl` for a machine without systemd: the commands and unit options that the run book uses.

machine.py installs it as /usr/local/bin/systemctl. A start makes the unit's directories and copies
its credentials. Then it runs ExecStart as the unit's user and groups, with only the unit's
environment, without capabilities, and with MemoryDenyWriteExecute if the kernel supports it. It
waits for READY=1 of Type=notify and for ExecStartPost. It does not restart failed units, and does
not restrict the file system or system calls.
"""

import ctypes
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

UNITS = (Path("/etc/systemd/system"), Path("/usr/lib/systemd/system"))
CREDENTIALS, KEPT = Path("/run/credentials"), Path("/run/systemctl")
PATIENCE, PAUSE = 30.0, 0.1  # seconds
PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN = 65, 1


class Unit:
    """A unit file with its drop-ins."""

    def __init__(self, name: str, places: Sequence[Path] = UNITS) -> None:
        self.name = name if name.endswith(".service") else f"{name}.service"
        stem, _, self.instance = self.name.removesuffix(".service").partition("@")
        self.file = f"{stem}@.service" if self.instance else self.name
        found = next(place / self.file for place in places if (place / self.file).exists())
        more = sorted((places[0] / f"{self.file}.d").glob("*.conf"))
        self.said: dict[str, list[str]] = {}
        for line in "\n".join(file.read_text() for file in (found, *more)).splitlines():
            word, equals, value = line.partition("=")
            if equals and not word.startswith("#"):
                self.said[word] = [*self.said.get(word, []), value] if value else []

    def one(self, word: str, default: str = "") -> str:
        """Return the last value of an option."""
        return self._meant((self.said.get(word) or [default])[-1])

    def all(self, word: str) -> list[str]:
        """Return every word of an option's lines."""
        return [word for line in self.said.get(word, []) for word in shlex.split(self._meant(line))]

    def _meant(self, text: str) -> str:
        means = {"%i": self.instance, "%S": "/var/lib", "%d": str(CREDENTIALS / self.name)}
        for specifier, meaning in means.items():
            text = text.replace(specifier, meaning)
        return text

    @property
    def pid_file(self) -> Path:
        """Return the file with the process id."""
        return KEPT / f"{self.name}.pid"

    def start(self) -> None:
        """Start the unit and wait until it is ready."""
        self.prepare()
        environment = {"PATH": "/usr/local/bin:/usr/bin:/bin"}
        environment |= dict(pair.split("=", 1) for pair in self.all("Environment"))
        said = None
        if self.one("Type") == "notify":
            address = KEPT / f"{self.name}.notify"
            address.unlink(missing_ok=True)
            said = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            said.bind(str(address))
            address.chmod(0o777)
            said.settimeout(PAUSE)
            environment["NOTIFY_SOCKET"] = str(address)
        with Path(f"/var/log/{self.name}.log").open("ab") as log:
            command = [*self.as_its_user(), *self.all("ExecStart")]
            options = {"env": environment, "stdout": log, "stderr": log, "cwd": "/"}
            running = subprocess.Popen(
                command,
                preexec_fn=self.confine,  # noqa: PLW1509  this process has one thread
                start_new_session=True,
                **options,
            )
            self.pid_file.write_text(str(running.pid))
            while said and not self.has_said(said, running):
                pass
            for after in self.said.get("ExecStartPost", []):
                words = shlex.split(self._meant(after.removeprefix("-")))
                done = subprocess.run([*self.as_its_user(), *words], check=False, **options)
                if done.returncode and not after.startswith("-"):
                    sys.exit(f"{self.name}: {words[0]} failed")
        if running.poll() is not None:
            sys.exit(f"{self.name} has ended: " + Path(f"/var/log/{self.name}.log").read_text())

    def has_said(self, said: socket.socket, running: subprocess.Popen[bytes]) -> bool:
        """Return whether the unit is ready or has ended."""
        try:
            return b"READY=1" in said.recv(4096)
        except TimeoutError:
            return running.poll() is not None

    def prepare(self) -> None:
        """Make the unit's directories and credentials."""
        user, group = self.one("User"), self.one("Group")
        for kind, place in (("RuntimeDirectory", "/run"), ("StateDirectory", "/var/lib")):
            for name in self.all(kind):
                directory = Path(place, name)
                directory.mkdir(parents=True, exist_ok=True)
                directory.chmod(int(self.one(f"{kind}Mode", "0755"), 8))
                shutil.chown(directory, user, group)
        mine = CREDENTIALS / self.name
        for credential in self.all("LoadCredential"):
            name, _, source = credential.partition(":")
            mine.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, mine / name)
            (mine / name).chmod(0o400)
            shutil.chown(mine / name, user, group)
            shutil.chown(mine, user, group)
            mine.chmod(0o500)

    def as_its_user(self) -> list[str]:
        """Return the command prefix that switches to the unit's user."""
        groups = ",".join([self.one("Group"), *self.all("SupplementaryGroups")])
        ids = f"--reuid {self.one('User')} --regid {self.one('Group')} --groups {groups}"
        return f"setpriv {ids} --inh-caps=-all --bounding-set=-all --no-new-privs".split()

    def confine(self) -> None:
        """Apply limits in the new process before it executes the unit."""
        os.umask(int(self.one("UMask", "0022"), 8))
        if self.one("MemoryDenyWriteExecute") in {"yes", "true"}:
            ctypes.CDLL(None).prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0)

    def stop(self) -> None:
        """Stop the unit and wait until its process has ended."""
        if not self.pid_file.exists():
            return
        pid = int(self.pid_file.read_text())
        deadline = time.monotonic() + PATIENCE
        if runs(pid):
            os.kill(pid, signal.SIGTERM)
        while runs(pid):
            if time.monotonic() > deadline:
                sys.exit(f"{self.name} does not end")
            time.sleep(PAUSE)
        self.pid_file.unlink()
        for name in self.all("RuntimeDirectory"):
            shutil.rmtree(f"/run/{name}", ignore_errors=True)


def runs(pid: int) -> bool:
    """Return whether a process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def main(words: list[str]) -> None:
    """Run a command of systemctl(1)."""
    KEPT.mkdir(parents=True, exist_ok=True)
    command, *names = (word for word in words if not word.startswith("--"))
    if command == "daemon-reload":
        return
    units = [Unit(name) for name in names if command != "disable"]
    for unit in units:
        match command:
            case "start" | "enable":
                if command == "start" or "--now" in words:
                    unit.start()
            case "stop":
                unit.stop()
            case "restart":
                unit.stop()
                unit.start()
            case _:
                sys.exit(f"systemctl {command} is not supported here")


if __name__ == "__main__":
    main(sys.argv[1:])
