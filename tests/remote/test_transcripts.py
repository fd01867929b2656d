"""The transcripts of commands, over the admin API with TLS and a client certificate."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.cli.test_transcripts import TRANSCRIPTS
from tests.support.cli.terminal import Outcome, run
from tests.support.cli.transcript import play
from tests.support.rpc.admin_command import AdminCommand, Files

LOCAL = {"init", "serve", "admin", "meter", "config", "doctor", "backup", "restore", "envoy", "dev"}
# Transcripts about the store itself, or with commands that need its machine.
OF_THE_STORE = {"init", "no_store", "peppers", "settings", "stdin"}
SAME = [file for file in TRANSCRIPTS if file.stem not in OF_THE_STORE]


class OverApi:
    """Runs local commands on the store, and all others over an admin API with their settings."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self._files = Files(directory / "tls")
        self._directory = directory
        self._stack = stack
        self._servers: dict[str, AdminCommand] = {}
        self.environment = self._files.environment

    def run(self, *arguments: str, stdin: bytes | None = None) -> Outcome:
        """Run a command."""
        rest, file = list(arguments), ""
        if "--config" in rest:
            at = rest.index("--config")
            _, file = rest[at], rest[at + 1]
            del rest[at : at + 2]
        if rest[:1] and rest[0] in LOCAL:
            return run(*arguments, stdin=stdin)
        if not (self._directory / "authz-pepper-1").exists():  # wrong usage, before `init`
            return run("--admin", "127.0.0.1:1", *rest, stdin=stdin)
        return run("--admin", self._server(file).address, *rest, stdin=stdin)

    def _server(self, file: str) -> AdminCommand:
        if file not in self._servers:
            path = self._directory / file if file else None
            server = AdminCommand(path, self._directory, **self._files.settings)
            self._servers[file] = self._stack.enter_context(server)
        return self._servers[file]


@pytest.mark.parametrize("transcript", SAME, ids=lambda file: file.stem)
def test_a_transcript_holds(
    transcript: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commands print the same lines to the same stream, and exit with the same code."""
    with ExitStack() as stack:
        api = OverApi(empty_store, stack)
        for name, value in api.environment.items():
            monkeypatch.setenv(name, value)
        play(transcript, empty_store, api.run, over_api=True)
