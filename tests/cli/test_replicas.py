"""What a command says where the store has replicas."""

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
    """Runs commands on a store behind Sentinel. Calling one gives what it printed."""

    def __init__(self, store, directory):
        self.store = store
        self._file = directory / "authz.yaml"
        self._file.write_text(
            f"redis: {{ sentinel: {{ hosts: ['127.0.0.1:{store.sentinel_port}'], "
            f"service: {SERVICE} }} }}\nkeys: {{ peppers: [ {{ file: {directory}/pepper }} ] }}\n"
        )

    async def __call__(self, *arguments):
        """Until it succeeds: a primary whose replicas were late a moment ago takes no change."""
        return await eventually(lambda: self.once(*arguments))

    async def once(self, *arguments):
        """Empty where the primary takes no change."""
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
    """On a store that was set up."""
    async with Replicated() as store:
        found = Command(store, tmp_path)
        await found("init")
        yield found


async def test_replicas(command):
    """A change says how many replicas have it: that many survive a failover with it."""

    async def issue():
        return json.loads(await command("keys", "issue", "--client", "acme", "--json"))

    issued = await conclusively(issue, lambda issued: issued["replicas"])
    assert issued["replicas"] in {1, 2}
    assert "replica" in await command("keys", "disable", issued["kid"])


async def test_no_replica(command):
    """A change that none has says so, and one that changes nothing says nothing of replicas."""
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
