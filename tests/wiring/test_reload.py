"""Reloads of a real sidecar under load: SIGHUP and a changed settings file."""

import asyncio
import contextlib
import json
import os
import signal
import threading
from pathlib import Path

import grpc
import pytest
import yaml
from envoy.service.auth.v3.external_auth_pb2 import CheckResponse

from authz.rpc.services import CHECK_SERVICE
from tests.support.real import Valkey, eventually
from tests.support.rpc.messages import check_request
from tests.support.serving import Serving, prepared

PLAN = {"plans": {"small": ["3/h"], "other": ["5/h"]}}
SCOPED = [{"path": "/scoped", "scopes": "models:read"}]


class Reloading:
    """A sidecar whose settings file changes."""

    def __init__(self, process: Serving, key: str) -> None:
        self.process, self.key = process, key
        self.channel = grpc.insecure_channel(process.check)
        self._check = self.channel.unary_unary(f"/{CHECK_SERVICE}/Check")

    def ask(self, path: str = "/v1/models") -> int:
        """Return the HTTP status of a Check; 200 for an allow."""
        raw = check_request([("x-api-key", self.key)], path=path).SerializeToString()
        answer = CheckResponse.FromString(self._check(raw, timeout=30))
        if answer.HasField("ok_response"):
            return 200
        return answer.denied_response.status.code

    def write(self, **sections: object) -> None:
        """Change sections of the settings file."""
        tree = yaml.safe_load(self.process.file.read_text())
        for name, value in sections.items():
            tree[name] = tree.get(name, {}) | value if isinstance(value, dict) else value
        self.process.file.write_text(yaml.safe_dump(tree))

    def settings(self) -> dict:
        """Return the settings component of /readyz."""
        return self.process.look()[1]["components"]["settings"]

    async def reload(self, **sections: object) -> dict:
        """Change the file, send SIGHUP, and wait until the sidecar has read it."""
        before = self.settings()
        self.write(**sections)
        self.process.tell(signal.SIGHUP)
        await eventually(lambda: self.settings() != before)
        return self.settings()

    def lines(self) -> list[str]:
        """Return the messages of the log."""
        return [json.loads(line)["message"] for line in self.process.log.read_text().splitlines()]


@contextlib.asynccontextmanager
async def reloading(directory: Path, valkey: Valkey, **wanted):
    """Run a sidecar with one key."""
    chosen = {"check": {"deadline": "10s"}, "cache": {"trust_lease": "10s"}} | PLAN
    process = Serving(directory, valkey, chosen)
    (issued,) = await prepared(process.file, **wanted)
    with process:
        found = Reloading(process, issued.key_text)
        await eventually(process.is_ready)
        yield found
        found.channel.close()


async def test_no_request_fails_while_rules_change(tmp_path: Path, valkey: Valkey) -> None:
    """Twenty reloads change a rule back and forth, and every other request is allowed."""
    async with reloading(tmp_path, valkey) as sidecar:
        seen: dict[int, int] = {}
        stop = threading.Event()

        def load() -> None:
            while not stop.is_set():
                status = sidecar.ask()
                seen[status] = seen.get(status, 0) + 1

        threads = [threading.Thread(target=load) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            for number in range(20):
                # The change of the file and the signal may cause two reloads, the second one late.
                before = sidecar.settings()["version"]
                await sidecar.reload(routes=SCOPED if number % 2 == 0 else [])
                await eventually(lambda old=before: sidecar.settings()["version"] != old)
                assert sidecar.ask("/scoped") == (403 if number % 2 == 0 else 200)
        finally:
            stop.set()
            for thread in threads:
                thread.join()

    assert set(seen) == {200}


async def test_a_changed_file_is_reloaded_without_a_signal(tmp_path: Path, valkey: Valkey) -> None:
    """The sidecar notices the file, and /readyz shows the new version."""
    async with reloading(tmp_path, valkey) as sidecar:
        before = sidecar.settings()
        assert sidecar.ask("/scoped") == 200
        sidecar.write(routes=SCOPED)
        await eventually(lambda: sidecar.settings()["version"] != before["version"])
        assert sidecar.ask("/scoped") == 403
        assert sidecar.settings()["loaded_at"] > before["loaded_at"]


async def test_a_changed_included_file_is_reloaded(tmp_path: Path, valkey: Valkey) -> None:
    """A file of keys that the settings include is watched. With a mistake in it nothing changes."""
    async with reloading(tmp_path, valkey) as sidecar:
        keys = tmp_path / "keys.yaml"
        keys.write_text(yaml.safe_dump({"keys": [], "routes": SCOPED}))
        found = await sidecar.reload(include=["keys.yaml"])
        assert (found["reason"], sidecar.ask("/scoped")) == ("", 403)

        keys.write_text(yaml.safe_dump({"keys": [], "routes": [{"path": "/other"}, *SCOPED]}))
        await eventually(lambda: sidecar.settings()["version"] != found["version"])
        keys.write_text(yaml.safe_dump({"keys": [], "routes": [{"path": "other"}]}))
        await eventually(lambda: "routes.0.path" in sidecar.settings()["reason"])
        assert f"(in {keys}, line 3)" in sidecar.settings()["reason"]
        assert sidecar.ask("/scoped") == 403


async def test_a_plan_changes_for_keys_in_use(tmp_path: Path, valkey: Valkey) -> None:
    """After a larger plan the key has the difference left. Units that were used stay used."""
    async with reloading(tmp_path, valkey, plan="small") as sidecar:
        assert [sidecar.ask() for _ in range(4)] == [200, 200, 200, 429]
        await sidecar.reload(plans={"small": ["5/h"]})
        assert [sidecar.ask() for _ in range(3)] == [200, 200, 429]
        await sidecar.reload(plans={"small": None, "gold": ["9/h"]}, log={"level": "DEBUG"})
        assert sidecar.settings()["reason"].startswith("not reloaded: plans.small")
        assert sidecar.ask() == 429


@pytest.mark.parametrize(
    "mistake",
    [
        {"routes": [{"path": "no slash"}]},
        {"plans": {"small": ["3 a day"]}},
        {"log": {"level": "LOUD"}},
        {"unknown": {"a": 1}},
    ],
    ids=lambda mistake: next(iter(mistake)),
)
async def test_a_mistake_changes_nothing(tmp_path: Path, valkey: Valkey, mistake: dict) -> None:
    """The rule before stays in force, also if only another setting is wrong. One line says why."""
    async with reloading(tmp_path, valkey) as sidecar:
        good = await sidecar.reload(routes=SCOPED)
        content = sidecar.process.file.read_text()

        bad = await sidecar.reload(**({"routes": []} | mistake))

        assert (bad["version"], bad["loaded_at"]) == (good["version"], good["loaded_at"])
        assert bad["reason"].startswith(f"not reloaded: {next(iter(mistake))}")
        assert sidecar.ask("/scoped") == 403
        assert sidecar.process.is_ready()
        assert sum("settings were not reloaded" in line for line in sidecar.lines()) == 1
        sidecar.process.file.write_text(content)
        sidecar.process.tell(signal.SIGHUP)
        await eventually(lambda: sidecar.settings()["reason"] == "")


async def test_a_pipe_in_place_of_the_file(tmp_path: Path, valkey: Valkey) -> None:
    """The sidecar does not wait for a pipe: it keeps its rules, says why, and can end."""
    async with reloading(tmp_path, valkey) as sidecar:
        good = await sidecar.reload(routes=SCOPED)
        sidecar.process.file.unlink()
        os.mkfifo(sidecar.process.file)
        sidecar.process.tell(signal.SIGHUP)
        await eventually(lambda: sidecar.settings()["reason"].endswith("not a regular file"))
        assert sidecar.settings()["version"] == good["version"]
        assert sidecar.ask("/scoped") == 403


async def test_a_setting_that_needs_a_restart_is_named(tmp_path: Path, valkey: Valkey) -> None:
    """The listen address stays, the rules change, and one line names the address."""
    async with reloading(tmp_path, valkey) as sidecar:
        where = {"listen": "127.0.0.1:1", "deadline": "10s"}
        found = await sidecar.reload(check=where, routes=SCOPED)

        assert found["restart_needed"] == ["check.listen"]
        assert sidecar.ask("/scoped") == 403
        assert "settings that need a restart keep their old values: check.listen" in sidecar.lines()


async def test_sighup_does_not_end_a_sidecar(tmp_path: Path, valkey: Valkey) -> None:
    """A burst of SIGHUP leaves the process alive and ready."""
    async with reloading(tmp_path, valkey) as sidecar:
        for _ in range(50):
            sidecar.process.tell(signal.SIGHUP)
        await eventually(lambda: any("settings reloaded" in line for line in sidecar.lines()))
        assert not sidecar.process.has_ended()
        assert sidecar.ask() == 200
        await asyncio.to_thread(sidecar.process.wait_until_ready)
