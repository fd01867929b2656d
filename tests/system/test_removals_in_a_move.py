"""Calls of a real `authz admin` that take rights away while the store is frozen for a move."""

import asyncio
import json
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import yaml

from authz.core.new_keys import KeySpec
from authz.core.records import Status
from authz.core.roles import Role
from authz.flows.lifecycle import Changed
from authz.rpc.pb.admin.v1 import key_pb2, keys_pb2
from authz.settings import model
from authz.settings.model import Settings
from authz.storage.resharding import moving
from authz.storage.resharding.trail_copy import TrailCopy
from authz.storage.trail import StoredRows
from authz.wiring import administration, resharding
from authz.wiring.partition_count import sized
from tests.process.test_notification_receivers import SECRET
from tests.rpc.admin.kills import AdminServing
from tests.support.real import Valkey, eventually
from tests.support.rpc.admin import Stubs
from tests.system.test_leak_reports import post

COUNT = 8


class Rig:
    """A running `authz admin` on a store with one partition, and some keys."""

    def __init__(self, serving: AdminServing, text: str, keys: list[Changed]) -> None:
        self.serving = serving
        self.text = text
        self.keys = keys

    @property
    def log(self) -> str:
        """The log of the process."""
        return self.serving.log.read_text()

    def rest(self, path: str) -> int:
        """Return the status of a POST without members."""
        headers = {"authorization": f"Bearer {self.text}", "content-type": "application/json"}
        request = urllib.request.Request(f"http://{self.serving.http}{path}", b"{}", headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return int(answer.status)


@asynccontextmanager
async def rigged(directory: Path, valkey: Valkey) -> AsyncIterator[Rig]:
    """Yield a rig, and end its process."""
    serving = AdminServing(directory, valkey.url)
    (directory / "secret").write_text(SECRET)
    text = yaml.safe_load(serving.file.read_text()) | {"leaks": {"secret_file": "secret"}}
    serving.file.write_text(yaml.safe_dump(text))
    serving.settings = model.load(serving.file, environ={})
    credential = await serving.issue(Role.ADMIN)
    async with administration.administration(serving.settings) as lifecycle:
        specs = [KeySpec(client_id=f"c{at}", env="live", life_ms=None) for at in range(4)]
        keys = [await lifecycle.issue(spec, lifecycle.author("tests")) for spec in specs]
    await asyncio.to_thread(serving.start)
    try:
        yield Rig(serving, credential, keys)
    finally:
        serving.close()


async def test_removals_of_all_doors_are_made_once(
    valkey: Valkey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call by gRPC, one by REST and a report of a leak end their keys in the partitions.

    A call that gives rights is refused meanwhile, and says why.
    """
    monkeypatch.setattr(moving, "NOTICE_SECONDS", 0.0)
    monkeypatch.setattr(moving, "LATE_SECONDS", 3.0)
    finish, begun = TrailCopy.finish, list[Any]()

    async with (
        rigged(tmp_path, valkey) as rig,
        grpc.aio.insecure_channel(rig.serving.address) as channel,
    ):
        stubs = Stubs(channel, rig.text)
        by_grpc, by_rest, by_report, _ = rig.keys

        async def held(self: TrailCopy, name: str) -> None:
            request = keys_pb2.RevokeKeyRequest(name=f"keys/{by_grpc.record.kid}")
            begun.append(asyncio.ensure_future(stubs.keys.RevokeKey(request)))
            await eventually(lambda: "waits for it" in rig.log)
            wanted = keys_pb2.CreateKeyRequest(key=key_pb2.Key(client_id="new"))
            with pytest.raises(grpc.aio.AioRpcError, match="moving to more partitions"):
                await stubs.keys.CreateKey(wanted)
            path = f"/v1/keys/{by_rest.record.kid}:revoke"
            begun.append(asyncio.ensure_future(asyncio.to_thread(rig.rest, path)))
            body = json.dumps([{"token": by_report.key_text}]).encode()
            begun.append(asyncio.ensure_future(asyncio.to_thread(post, rig.serving.http, body)))
            await asyncio.sleep(0.5)  # both have arrived
            assert not any(one.done() for one in begun)
            await finish(self, name)

        monkeypatch.setattr(TrailCopy, "finish", held)
        settings = sized(rig.serving.settings, COUNT)
        assert await resharding.move(settings, "tests", lambda _: None) is not None
        _, status, (reported, labels) = await asyncio.gather(*begun)
        assert (status, reported, labels[0]["label"]) == (200, 200, "true_positive")
        await eventually(lambda: "starting again with them" in rig.log)
        async with administration.administration(settings) as lifecycle:
            found = [await lifecycle.show(key.record.kid) for key in rig.keys]
    assert [one.status for one in found] == [*[Status.REVOKED] * 3, Status.ACTIVE]
    assert "Traceback" not in rig.log
    rows = await audited(settings)
    for key in (by_grpc, by_rest, by_report):
        assert rows.count(("revoke", key.record.kid)) == 1
    assert rows.count(("leak", "")) == 1


async def audited(settings: Settings) -> list[tuple[str, str]]:
    """Return action and kid of all rows of all trails."""
    async with administration.all_parts(settings) as parts:
        trails = [await StoredRows(client).after("", 1000) for client in parts.clients]
    return [(row.fields["action"], row.fields["kid"]) for rows in trails for row in rows]
