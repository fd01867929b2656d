"""Answers of commands on a store with replicas."""

import asyncio
import contextlib
import io
import json

import pytest

from authz.cli.main import main
from tests.support.failover import SERVICE, Replicated
from tests.support.real import eventually
from tests.support.stalls import conclusively


class Command:
    """Commands on a store behind Sentinel. A call returns the outcome."""

    def __init__(self, store, directory):
        self.store = store
        self._file = directory / "authz.yaml"
        self._file.write_text(
            f"redis: {{ sentinel: {{ hosts: ['127.0.0.1:{store.sentinel_port}'], "
            f"service: {SERVICE} }} }}\nkeys: {{ peppers: [ {{ file: {directory}/pepper }} ] }}\n"
        )

    async def __call__(self, *arguments):
        """Run until success: a primary whose replicas were late a moment ago takes no change."""
        return await eventually(lambda: self.once(*arguments))

    async def once(self, *arguments):
        """Run once. Return None if the primary takes no change."""
        out, err, code = await asyncio.to_thread(self._run, *arguments)
        assert code == 0 or "NOREPLICAS" in err, err
        return out if code == 0 else ""

    def _run(self, *arguments):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(["--config", str(self._file), *arguments])
        return out.getvalue(), err.getvalue(), code


@pytest.fixture
async def command(tmp_path):
    """A command on an initialised store."""
    async with Replicated() as store:
        found = Command(store, tmp_path)
        await found("init")
        yield found


async def test_replicas(command):
    """A change reports the number of replicas that have it."""

    async def issue():
        return json.loads(await command("keys", "issue", "--client", "acme", "--json"))

    issued = await conclusively(issue, lambda issued: issued["replicas"])
    assert issued["replicas"] in {1, 2}
    assert "replica" in await command("keys", "disable", issued["kid"])


async def test_no_replica(command):
    """A change without a replica reports that. A command without a change reports nothing."""
    kid = json.loads(await command("keys", "issue", "--client", "acme", "--json"))["kid"]

    async def enable():
        for replica in command.store.replicas:
            replica.resume()
        await command("keys", "disable", kid)
        for replica in command.store.replicas:
            replica.pause()
        return await command.once("keys", "enable", kid)

    assert "no replica has that yet" in await conclusively(enable, bool)
    again = await command.once("keys", "enable", kid, "--json")
    assert "replicas" not in json.loads(again)  # nothing was changed
