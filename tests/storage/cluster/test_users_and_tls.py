"""A cluster with the users of deploy/redis/users.acl, and one that speaks only TLS."""

import asyncio
import shutil
import time
from functools import partial

import pytest
import redis

from authz.core.errors import Unavailable
from authz.core.limits.charge import SpendReply, SpendRequest, charge_for
from authz.core.records import Status
from authz.core.usage.counts import Level
from authz.core.usage.ports import Counted, Known
from authz.core.usage.tally import Clocks
from authz.process.clock import SystemClock
from authz.storage.endpoint import Endpoint
from authz.storage.limits.spend_link import SpendLink
from authz.storage.tls import TlsFiles
from authz.storage.usage.usage_link import UsageLink
from tests.spending.plans import make_terms
from tests.storage.test_store_tls import NEEDED, Pem
from tests.storage.test_users import ADMIN, ALL, METER, SIDECAR, USERS
from tests.support.cluster import SLOT, Cluster, Node
from tests.support.real import eventually
from tests.support.storage.sidecar import Sidecar, administration
from tests.support.usage import committed, line

REDIS = shutil.which("redis-server")


@pytest.fixture
def users(tmp_path):
    """The arguments for servers with our users, each with its own name as password."""
    lines = [f"{line} >{line.split()[1]}" for line in USERS.read_text().splitlines()]
    file = tmp_path / "users.acl"
    file.write_text("\n".join(lines) + "\n")
    for user in ALL:
        (tmp_path / user).write_text(user)
    return tmp_path, ("--aclfile", str(file))


async def test_each_user_can_do_its_work(users):
    """Keys, limits and usage work with our users, and again after the slot has moved."""
    files, arguments = users
    async with Cluster(*arguments) as cluster:
        where = {user: cluster.login(user, files / user) for user in ALL}
        async with administration(where[ADMIN]) as admin, Sidecar(where[SIDECAR]) as sidecar:
            assert await admin.store.load_functions() == ""
            limits = SpendLink(where[SIDECAR], SystemClock(), instance="one", deadline=30)
            meter = UsageLink(where[METER], SystemClock(), dict.fromkeys(Level, 86_400))
            tasks = [asyncio.create_task(each.run()) for each in (limits, meter)]
            await eventually(lambda: limits.is_open and not meter.reason)
            record = await admin.issue()
            assert await sidecar.find(record.kid) == record
            assert await counted(limits) == 1
            await used(meter, b"one")

            target = cluster.others[0]
            cluster.owner.ask(
                *("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", SLOT, SLOT, "NODE", target.node_id)
            )
            await eventually(lambda: target.owns_slot)
            await eventually(partial(revoked, admin, record.kid))
            await sidecar.caught_up(2)
            assert (await sidecar.find(record.kid)).status is Status.REVOKED
            assert await eventually(partial(counted, limits)) == 1
            await eventually(partial(used, meter, b"two"))
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        assert [node.admin.acl_log() for node in cluster.nodes] == [[]] * len(cluster.nodes)


async def revoked(admin, kid):
    """Revoke a key; False if the store does not take it now."""
    try:
        return (await admin.revoke(kid)).status is Status.REVOKED
    except Unavailable:
        return False


async def counted(link):
    """Count a request; return how many were granted, 0 if the store does not count now."""
    asked = charge_for(make_terms("9000/h"), 1, int(time.time() * 1000))
    found: list[SpendReply | Unavailable] = []
    link.spend(asked, SpendRequest(1), found.append)
    await eventually(lambda: found)
    return 0 if isinstance(found[0], Unavailable) else found[0].granted


async def lacks_functions(link):
    """Count a request; return whether the link then says that the node lacks a function."""
    await counted(link)
    return "authz init" in link.reason


async def used(link, digest):
    """Count a usage line; False if the store does not count now. A repeated one is known."""
    now = SystemClock().wall_ms()
    commit = committed(line(started=now), clocks=Clocks.near(now, 3_600_000, 60_000))
    try:
        return isinstance(await link.commit(commit, [digest], now), Counted | Known)
    except Unavailable:
        return False


async def test_node_without_functions(users):
    """On a node that lacks the functions limits are unavailable until `authz init` loads them."""
    files, arguments = users
    async with Cluster(*arguments, spare=1) as cluster:
        where = {user: cluster.login(user, files / user) for user in ALL}
        async with administration(where[ADMIN]) as admin:
            await admin.store.load_functions()
            limits = SpendLink(where[SIDECAR], SystemClock(), instance="one", deadline=30)
            task = asyncio.create_task(limits.run())
            await eventually(lambda: limits.is_open)
            await admin.issue()
            [target] = cluster.spare
            await cluster.move_slot(cluster.owner, target)
            await eventually(partial(lacks_functions, limits))
            assert await counted(limits) == 0
            await eventually(partial(loaded, admin))
            await eventually(lambda: limits.is_open)
            assert await eventually(partial(counted, limits)) == 1
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def loaded(admin):
    """Load the functions; False if the store does not take them now."""
    try:
        return not await admin.store.load_functions()
    except Unavailable:
        return False


class TlsNode(Node):
    """A node that speaks only TLS, also with the other nodes. pem: its files."""

    def __init__(self, pem: Pem, *arguments: str, binary: str = "") -> None:
        cert, key = pem.store
        secure = ("--tls-cluster", "yes", "--tls-replication", "yes", "--tls-auth-clients", "no")
        files = ("--tls-cert-file", str(cert), "--tls-key-file", str(key))
        ca = ("--tls-ca-cert-file", str(pem.ca))
        super().__init__(*secure, *files, *ca, *arguments, binary=binary)
        self._arguments += ("--tls-port", str(self.port), "--port", "0")
        self.admin = redis.Redis(
            port=self.port, decode_responses=True, protocol=3, ssl=True, ssl_ca_certs=str(pem.ca)
        )


@pytest.mark.skipif(not REDIS, reason=NEEDED)
async def test_tls(tmp_path):
    """A cluster that speaks only TLS is used, and followed after a failover."""
    pem = Pem(tmp_path / "pem", "localhost", "127.0.0.1")
    async with Cluster(binary=REDIS, make=partial(TlsNode, pem)) as cluster:
        seeds = ",".join(f"localhost:{node.port}" for node in cluster.primaries)
        where = Endpoint.parse(f"rediss+cluster://{seeds}", tls=TlsFiles(ca=pem.ca))
        async with administration(where) as admin, Sidecar(where) as sidecar:
            record = await admin.issue()
            assert await sidecar.find(record.kid) == record
            await cluster.fail_over()
            await eventually(partial(revoked, admin, record.kid))
            await sidecar.caught_up(2)
            assert (await sidecar.find(record.kid)).status is Status.REVOKED
        stranger = Endpoint.parse(f"rediss+cluster://{seeds}", tls=TlsFiles())
        async with Sidecar(stranger) as sidecar:
            await eventually(lambda: "TLS: " in sidecar.reason)
