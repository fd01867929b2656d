"""What a command says where the store has replicas."""

import asyncio
import contextlib
import io
import json

import pytest

from authz.cli.main import main
from tests.failover import SERVICE, Replicated


@pytest.fixture
async def command(tmp_path):
    """Runs a command on a store behind Sentinel; `command.store` is that."""
    async with Replicated() as store:
        file = tmp_path / "authz.yaml"
        file.write_text(
            f"redis: {{ sentinel: {{ hosts: ['127.0.0.1:{store.sentinel_port}'], "
            f"service: {SERVICE} }} }}\nkeys: {{ peppers: [ {{ file: {tmp_path}/pepper }} ] }}\n"
        )

        def run(*arguments):
            out, err = io.StringIO(), io.StringIO()
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code = main(["--config", str(file), *arguments])
            assert code == 0, err.getvalue()
            return out.getvalue(), err.getvalue()

        async def in_thread(*arguments):
            return await asyncio.to_thread(run, *arguments)

        in_thread.store = store
        await in_thread("init")
        yield in_thread


async def test_replicas(command):
    """A change says how many replicas have it: that many survive a failover with it."""
    out, _ = await command("keys", "issue", "--client", "acme", "--json")
    issued = json.loads(out)
    assert issued["replicas"] in {1, 2}
    out, _ = await command("keys", "disable", issued["kid"])
    assert "replica" in out

    for replica in command.store.replicas:
        replica.pause()
    out, _ = await command("keys", "enable", issued["kid"])
    assert "no replica has that yet" in out
    out, _ = await command("keys", "enable", issued["kid"], "--json")
    assert "replicas" not in json.loads(out)  # nothing was changed
