"""`authz keys rotate --to` on a real store, directly and over a real `authz admin`."""

import asyncio
import json
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import yaml

from authz.core.audit import Action
from authz.core.changes import planned
from authz.core.new_keys import KeySpec
from authz.core.roles import Role
from authz.settings import model
from authz.wiring import administration
from tests.rpc.admin.kills import AdminServing
from tests.support import hasty
from tests.support.secret_stores import TOKEN, Kubernetes, Vault

PATIENCE = 60.0  # seconds


class Rig:
    """An administration with a cluster and a Vault, and one key of a holder."""

    def __init__(self, serving, lifecycle, cluster, vault):
        self.serving = serving
        self.lifecycle = lifecycle
        self.cluster = cluster
        self.vault = vault
        self.kid = ""

    async def issue(self):
        """Issue a key and return its text."""
        spec = KeySpec(client_id="acme-web", env="live", life_ms=None)
        changed = await self.lifecycle.issue(spec, self.lifecycle.author("tests"))
        self.kid = changed.record.kid
        return changed.key_text

    async def works(self, text):
        """Return whether a secret of the key works."""
        ring = administration.keyring(self.serving.settings)
        record, digest = await self.lifecycle.show(self.kid), ring.parse(text).digest()
        now = time.time() * 1000
        return any(one.digest == digest and one.is_live(now) for one in record.secrets)

    async def until(self, condition):
        """Wait until an async condition holds."""
        deadline = time.monotonic() + PATIENCE
        while not await condition():
            assert time.monotonic() < deadline, self.serving.log.read_text()[-2000:]
            await asyncio.sleep(0.1)


@pytest.fixture
async def rig(valkey, tmp_path):
    """The targets are served; `authz admin` is not yet started."""
    with Kubernetes().serving() as cluster, Vault().serving() as vault:
        serving = AdminServing(tmp_path, valkey.url, program=hasty.PROGRAM)
        (tmp_path / "token").write_text(TOKEN)
        token = {"token_file": str(tmp_path / "token")}
        targets = {
            "cluster": {"kind": "kubernetes", "url": cluster.url, "namespace": "shop"} | token,
            "vault": {"kind": "vault", "url": vault.url} | token,
        }
        rotation = {"targets": targets, "allowed_networks": ["127.0.0.0/8"]}
        text = yaml.safe_load(serving.file.read_text()) | {"rotation": rotation}
        serving.file.write_text(yaml.safe_dump(text))
        serving.settings = model.load(serving.file, environ={})
        serving.credential = await serving.issue(Role.ADMIN)
        async with administration.administration(serving.settings) as lifecycle:
            try:
                yield Rig(serving, lifecycle, cluster, vault)
            finally:
                serving.close()


async def run(*words):
    """Run `authz` and return its exit code and outputs."""
    command = [sys.executable, "-m", "authz.cli.main", *words]
    return await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True)


async def test_to_kubernetes(rig):
    """The Secret has the new key, the command shows none, and both work for the overlap."""
    old = await rig.issue()
    done = await run(
        "--config", str(rig.serving.file), "keys", "rotate", rig.kid, "--to", "cluster", "--json"
    )
    new = rig.cluster.secret("shop", "authz-acme-web")[rig.kid]
    assert (done.returncode, json.loads(done.stdout)["delivery"]) == (0, "delivered")
    assert new not in done.stdout + done.stderr
    assert (await rig.works(old), await rig.works(new)) == (True, True)


async def test_targets_of_other_machines(rig):
    """A command needs its own target alone: the others may be of a pod or of another machine."""
    await rig.issue()
    text = yaml.safe_load(rig.serving.file.read_text())
    text["rotation"]["targets"] |= {
        "pod": {"kind": "kubernetes", "namespace": "shop"},
        "hook": {"kind": "webhook", "url": "https://example.com", "secret_file": "missing"},
    }
    rig.serving.file.write_text(yaml.safe_dump(text))
    config = ("--config", str(rig.serving.file), "keys", "rotate", rig.kid, "--to")
    assert (await run(*config, "vault")).returncode == 0
    done = await run(*config, "pod")
    assert (done.returncode, "not in a cluster" in done.stderr) == (2, True)
    done = await run(*config, "nowhere")
    assert (done.returncode, "cluster, hook, pod, vault" in done.stderr) == (2, True)
    assert "--to: " in done.stderr


async def test_a_refusal(rig):
    """Vault refuses the token: exit code 1, and only the old secret works."""
    old = await rig.issue()
    rig.vault.forced = 403, {"errors": ["permission denied"]}
    done = await run("--config", str(rig.serving.file), "keys", "rotate", rig.kid, "--to", "vault")
    assert done.returncode == 1
    assert "the rotation is undone" in done.stdout
    record = await rig.lifecycle.show(rig.kid)
    assert (await rig.works(old), record.newest_secret.id) == (True, "1")


async def test_admin_goes_on_with_a_delivery(rig):
    """The command could not deliver. `authz admin` delivers the same secret later."""
    old = await rig.issue()
    rig.vault.forced = 503, {}
    done = await run(
        "--config",
        str(rig.serving.file),
        "keys",
        "rotate",
        rig.kid,
        "--to",
        "vault",
        "--grace",
        "0",
    )
    assert (done.returncode, "is pending" in done.stdout) == (1, True)
    assert await rig.works(old)
    await asyncio.to_thread(rig.serving.start)
    rig.vault.forced = None
    path = f"acme-web/{rig.kid}"

    async def arrived():
        return not await rig.works(old)

    await rig.until(arrived)
    new = rig.vault.newest(f"authz/{path}")["api_key"]
    assert await rig.works(new)
    assert new not in rig.serving.log.read_text()


async def test_an_undecided_delivery(rig):
    """After 24 hours both secrets work, `keys due` lists the key, an event says so, and one ends.

    The new secret is made a day older, as if a day had passed.
    """
    old = await rig.issue()
    config = ("--config", str(rig.serving.file), "keys")
    rig.vault.forced = 503, {}
    await run(*config, "rotate", rig.kid, "--to", "vault")
    done = await run(*config, "due", "--deliveries", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["deliveries"]
    about = {"kid": rig.kid, "client": "acme-web", "target": "vault", "secret": "2"}
    assert [one | {"since": ""} for one in found] == [about | {"since": "", "is_undecided": False}]
    assert json.loads((await run(*config, "due", "--json")).stdout) == {
        "keys": [],
        "deliveries": [],
    }
    by = rig.lifecycle.author("tests")

    def older(record, now):
        first, second = record.secrets
        aged = replace(second, created_at=second.created_at - 86_400_000)
        return planned(record, replace(record, secrets=(first, aged)), Action.UPDATE, by, now)

    await rig.lifecycle.change(rig.kid, older)
    await asyncio.to_thread(rig.serving.start)

    async def is_held():
        return (await rig.lifecycle.show(rig.kid)).secrets[0].retires_at is None

    await rig.until(is_held)
    assert await rig.works(old)
    shown = await run(*config, "due")
    assert rig.kid in shown.stdout
    assert "authz keys retire KID --secret old" in shown.stdout
    events = await run(*config[:2], "events", "list", "--type", "authz.key.delivery_unknown")
    assert events.stdout.count(rig.kid) == 1
    await run(*config, "retire", rig.kid, "--secret", "old")
    assert (await run(*config, "due")).stdout == "no key is due\n"
    assert not await rig.works(old)


async def test_over_the_admin_api(rig):
    """The server has the targets; the response has no text."""
    old = await rig.issue()
    await asyncio.to_thread(rig.serving.start)
    file = rig.serving.file.parent / "credential"
    file.write_text(rig.serving.credential)
    file.chmod(0o600)
    target = ("--admin", rig.serving.address, "--admin-token-file", str(file))
    words = ("keys", "rotate", rig.kid, "--to", "vault", "--json")
    done = await run(*target, *words)
    assert (done.returncode, json.loads(done.stdout)["delivery"]) == (0, "delivered"), done.stderr
    new = rig.vault.newest(f"authz/acme-web/{rig.kid}")["api_key"]
    assert new not in done.stdout
    assert (await rig.works(old), await rig.works(new)) == (True, True)
    rig.vault.forced = 503, {}
    await run(*target, "keys", "retire", rig.kid, "--secret", "old")
    pending = await run(*target, *words)
    assert json.loads(pending.stdout)["delivery"] == "pending"
    shown = json.loads((await run(*target, "keys", "show", rig.kid, "--json")).stdout)
    assert (shown["delivery"]["target"], shown["delivery"]["secret"]) == ("vault", "3")
    done = await run(*target, *words[:-2], "nowhere")
    assert (done.returncode, "--to: rotation.targets has" in done.stderr) == (2, True), done.stderr


async def test_a_leaked_secret_is_not_rolled_back(rig):
    """The command refuses it, directly and over the admin API, by the audit trail of the store."""
    old = await rig.issue()
    author = rig.lifecycle.author("leaks/github", "leaked: a commit")
    await rig.lifecycle.rotate(rig.kid, 3_600_000, author)
    await rig.lifecycle.disable(rig.kid, rig.lifecycle.author("tests"))
    await rig.lifecycle.enable(rig.kid, rig.lifecycle.author("tests"))
    ends_at = (await rig.lifecycle.show(rig.kid)).secrets[0].retires_at
    await asyncio.to_thread(rig.serving.start)
    file = rig.serving.file.parent / "credential"
    file.write_text(rig.serving.credential)
    file.chmod(0o600)
    target = ("--admin", rig.serving.address, "--admin-token-file", str(file))
    for where in (("--config", str(rig.serving.file)), target):
        done = await run(*where, "keys", "rollback", rig.kid)
        assert (done.returncode, "reported as leaked" in done.stderr) == (1, True), done.stderr
    assert await rig.works(old)
    assert (await rig.lifecycle.show(rig.kid)).secrets[0].retires_at == ends_at
