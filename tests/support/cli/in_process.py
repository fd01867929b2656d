"""Run commands that read stdin or ask, in this process or on a terminal."""

import contextlib
import io
import os
import pty
import re
import select
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from authz.cli.main import main
from authz.core.keys.keyring import Keyring
from authz.core.keys.pepper import Pepper
from authz.core.partitions import Partitions
from authz.core.seals import SEAL
from authz.storage.endpoint import Endpoint
from authz.storage.schema import META_COMPACT, Names
from tests.support.cli.terminal import Outcome
from tests.support.real import PATIENCE, Valkey
from tests.support.storage import stored

POLL = 0.05  # seconds
SILENCE = 2.0  # seconds
CTRL_C = "\x03"
AUTHZ = (sys.executable, "-c", "import sys; from authz.cli.main import main; sys.exit(main())")


def without_settings(patch: pytest.MonkeyPatch) -> None:
    """Remove all settings from the environment."""
    for name in [name for name in os.environ if name.startswith("AUTHZ_")]:
        patch.delenv(name)


class CommandRunner:
    """Commands in a directory with a pepper and a real store. partitions: of the store."""

    def __init__(
        self, directory: Path, valkey: Valkey, patch: pytest.MonkeyPatch, *, partitions: int = 1
    ) -> None:
        self.directory = directory
        self.valkey = valkey
        self.partitions = partitions
        self._patch = patch
        patch.chdir(directory)
        without_settings(patch)
        patch.setenv("AUTHZ_REDIS__URL", valkey.url)
        patch.setenv("AUTHZ_ACTOR", "tests")
        if partitions > 1:
            patch.setenv("AUTHZ_REDIS__PARTITIONS", str(partitions))
        done = self.run("init")
        assert done.code == 0, done.err
        for one in self.endpoint.partitions():  # so that tests can alter fields of hashes
            valkey.admin.hdel(one.names.meta, META_COMPACT)

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint of the store, with its partitions."""
        return replace(self.valkey.endpoint, count=self.partitions)

    def names(self, kid: str) -> Names:
        """The names of the partition of a key."""
        return self.endpoint.partitions()[Partitions(self.partitions).of(kid)].names

    def run(self, *arguments: str, stdin: str | bytes = "") -> Outcome:
        """Run a command in this process, without a terminal."""
        out, err = io.StringIO(), io.StringIO()
        given = stdin.encode() if isinstance(stdin, str) else stdin
        self._patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given), "utf-8"))
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(arguments)
        return Outcome(code, out.getvalue(), err.getvalue())

    def issue(self, *arguments: str, client: str = "acme-web") -> tuple[str, str]:
        """Issue a key. Return its kid and its text."""
        document = self.run("keys", "issue", "--client", client, "--json", *arguments).document
        return document["kid"], document["key"]

    def alter(self, kid: str, **fields: str) -> None:
        """Write fields of a stored record, with the seal of somebody who has the pepper."""
        secret = (self.directory / "authz-pepper-1").read_bytes().strip()
        seals = Keyring("ak", [Pepper.expand("1", secret)]).record_seals
        name = stored.key(kid)
        found = self.valkey.admin.hgetall(name) | fields
        self.valkey.admin.hset(name, mapping=found | {SEAL: seals.seal(kid, found)})

    def status(self, kid: str) -> str:
        """Return the status of a key."""
        return self.run("keys", "show", kid, "--json").document["status"]


def on_a_terminal(*arguments: str, typed: str, after: str) -> Outcome:
    """Run a command on a terminal, and type after it has printed `after`. stderr is in `out`."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(AUTHZ[0], [*AUTHZ, *arguments], os.environ | {"TERM": "dumb"})  # noqa: S606
    seen, is_typed, again = "", False, 0.0
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if not select.select([terminal], [], [], POLL)[0]:
            if is_typed and typed == CTRL_C and time.monotonic() > again:
                os.write(terminal, typed.encode())  # the first came before the command waited
                again += SILENCE
            continue
        try:
            seen += os.read(terminal, 65536).decode()
        except OSError:  # nobody is at the other end any more
            break
        if after in seen and not is_typed:
            os.write(terminal, typed.encode())
            is_typed, again = True, time.monotonic() + SILENCE
    else:
        os.kill(pid, signal.SIGKILL)
    os.close(terminal)
    return Outcome(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), seen, "")


def refusal(done: Outcome, code: int = 2) -> str:
    """Return the one error line of a refused command."""
    assert done.code == code
    assert done.out == ""
    assert re.fullmatch("authz: .+\n", done.err)
    return done.err
