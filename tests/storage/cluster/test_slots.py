"""Slots, their owners, and refusals because of them: no server."""

import asyncio
import contextlib
from math import inf

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from authz.core.errors import BadInput, Unavailable
from authz.core.listen_address import Address
from authz.storage import cluster as cluster_of_nodes
from authz.storage.cluster import Cluster, read_slots, slot_of
from authz.storage.cluster_link import slot_fault
from authz.storage.endpoint import Endpoint
from authz.storage.link import Link
from authz.storage.replication import Replication
from authz.storage.schema import Names
from authz.storage.sentinel import Sentinel

A, B, C = (Address(f"10.0.0.{n}", 7000) for n in (1, 2, 3))
SLOT = 13907


@pytest.mark.parametrize(
    ("name", "slot"),
    [
        ("authz:{0}:meta", SLOT),
        ("staging:authz:{0}:key:x", SLOT),
        ("authz:meta", 1688),
        ("123456789", 12739),
        ("{}a", slot_of("{}a")),
        ("{a", slot_of("{a")),
    ],
)
def test_the_slot_of_a_name(name, slot):
    """The hash tag decides; without one the whole name does. Figures of CLUSTER KEYSLOT."""
    assert slot_of(name) == slot


def test_all_names_of_a_cluster_share_a_slot():
    """On a cluster every name has the tag, the meta too; a single store keeps its name."""
    names = Names("staging", is_clustered=True)
    found = [name for name in vars(names).values() if isinstance(name, str) and ":" in name]
    assert {slot_of(name) for name in found} == {SLOT}
    assert names.meta == "staging:authz:{0}:meta"
    assert Names("staging").meta == "staging:authz:meta"


def owners(*nodes):
    """Return a reply to CLUSTER SLOTS in which these nodes serve our slot, the owner first."""
    return [[0, 100, [C.host, C.port, "id"]], [101, 16383, *([n.host, n.port] for n in nodes)]]


def asking(answers):
    """Return a function that answers for each node, and the list of those that were asked."""
    asked = []

    async def ask(node):
        asked.append(node)
        answer = answers[node]
        if isinstance(answer, Exception):
            raise answer
        return answer

    return ask, asked


async def test_the_owner_of_our_slot():
    """A node that cannot be asked, or knows no owner, is passed over."""
    ask, _ = asking(
        {A: OSError(111, ""), B: owners(C, A), C: [[0, 100, [C.host, C.port]]]},
    )
    cluster = Cluster([A, B, C], SLOT)
    for _ in range(20):
        assert await cluster.owner(ask) == C


async def test_nodes_that_an_answer_named_are_asked_too():
    """After the seed is gone, the other nodes are asked; the node named last comes last."""
    answers = {A: owners(C, B)}
    ask, asked = asking(answers)
    cluster = Cluster([A], SLOT)
    assert await cluster.owner(ask) == C
    answers |= {A: OSError(111, ""), B: owners(B, A), C: owners(C, B)}
    asked.clear()
    assert await cluster.owner(ask) == B
    assert asked[-1] == C


async def test_a_node_that_is_cut_off():
    """A node that is cut off names itself, also by another address. Two others name the owner."""
    seed, d = Address("old.example", 7000), Address("10.0.0.4", 7000)
    answers = {seed: owners(A, B), A: owners(A, B)} | dict.fromkeys((B, C, d), owners(A, B, C, d))
    ask, _ = asking(answers)
    for _ in range(40):
        cluster = Cluster([seed, B, C, d], SLOT)
        answers |= dict.fromkeys((B, C, d), owners(A, B, C, d))
        assert await cluster.owner(ask) == A
        answers |= dict.fromkeys((B, C, d), owners(B, C, d))
        assert await cluster.agreed(ask) == B
        assert await cluster.owner(ask) == B


async def test_one_node_with_two_addresses_does_not_agree_with_itself():
    """A host name of a node that is cut off, and its own address, are one node in all orders."""
    names = [Address(f"old-{number}.example", 7000) for number in range(3)]
    answers = dict.fromkeys((*names, A, B), owners(A, B)) | {C: OSError(111, "")}
    ask, _ = asking(answers)
    for _ in range(40):
        answers |= {A: owners(A, B), B: OSError(111, "")}
        first = Cluster([names[0], A], SLOT)
        assert await first.agreed(ask) is None
        assert await first.owner(ask) == A
        cluster = Cluster([*names, A, B], SLOT)
        answers[B] = owners(A, B)
        assert await cluster.owner(ask) == A
        answers[B] = owners(B, A)
        assert await cluster.agreed(ask) is None
        assert await cluster.owner(ask) == B


async def test_the_id_tells_that_two_addresses_are_one_node():
    """A node may list itself by its host name or by its address, as the client asked."""
    name, node_id = Address("old.example", 7000), "a" * 40
    of_b = [B.host, B.port, "b" * 40, {}]
    answers = {one: [[0, 16383, of_b, [one.host, one.port, node_id, {}]]] for one in (name, A)} | {
        B: OSError(111, "")
    }
    ask, _ = asking(answers)
    cluster = Cluster([name, A], SLOT)
    for _ in range(40):
        assert await cluster.agreed(ask) is None
    answers[B] = [[0, 16383, of_b]]
    assert await cluster.agreed(ask) == B


async def test_names_of_nodes_agree_at_first(monkeypatch):
    """Seeds that no answer lists are enough for the first owner: nobody waits for a dead one."""
    monkeypatch.setattr(cluster_of_nodes, "ASK_SECONDS", 1e9)
    names = [Address(f"node-{number}.example", 7000) for number in range(3)]

    async def ask(node):
        if node == names[0]:
            await asyncio.get_running_loop().create_future()
        return owners(C, A, B)

    cluster = Cluster(names, SLOT)
    assert await cluster.owner(ask) == C
    assert await cluster.agreed(ask) == C


async def test_the_last_owner_is_named_by_one_node():
    """If no two nodes agree, it is rather another node than the one that was named last."""
    of_a, of_b = ([[0, 16383, [node.host, node.port]]] for node in (A, B))
    answers = {A: of_a, B: of_a}
    ask, _ = asking(answers)
    cluster = Cluster([A, B], SLOT)
    assert await cluster.owner(ask) == A
    answers[B] = of_b
    assert await cluster.agreed(ask) is None
    assert await cluster.owner(ask) == B
    answers[A] = OSError(111, "")
    assert await cluster.owner(ask) == B


async def test_nodes_that_do_not_answer(monkeypatch):
    """Nobody waits until they have had their time: the next nodes are asked meanwhile."""
    monkeypatch.setattr(cluster_of_nodes, "ASK_SECONDS", 1e9)
    dead = [Address(f"10.1.0.{n}", 7000) for n in range(10)]
    waiting = []

    async def ask(node):
        if node in dead:
            waiting.append(node)
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                waiting.remove(node)
        return owners(C, A, B)

    assert await Cluster([*dead, A, B], SLOT).owner(ask) == C
    await asyncio.sleep(0)
    assert waiting == []


async def test_the_address_of_moved_is_taken_once():
    """MOVED names the new owner: it is tried without a question, once."""
    ask, asked = asking({A: owners(B, A), C: owners(B, A)})
    cluster = Cluster([A], SLOT)
    cluster.note_move("10.0.0.3:7000")
    assert [await cluster.owner(ask), await cluster.owner(ask)] == [C, B]
    assert asked == [A]
    cluster.note_move(":7000")
    assert await cluster.owner(ask) == B


@pytest.mark.parametrize(
    ("host", "port"),
    [
        ("a..b", 7000),
        ("x" * 64, 7000),
        ("a\0b", 7000),
        ("\udcff", 7000),
        ("127.0.0.1", 65536),
        ("127.0.0.1", "9" * 5000),
    ],
)
async def test_an_owner_that_nobody_can_connect_to(host, port):
    """MOVED and CLUSTER SLOTS may give such an address: it is a fault of the store, no crash."""

    async def reach():
        endpoint = Endpoint.parse("redis+cluster://127.0.0.1:1")
        endpoint.cluster.note_move(f"{host}:{port}")
        await endpoint.open(lambda: endpoint.link(lambda _push: None, lambda: None))

    async def reach_named():
        ask, _ = asking({A: [[0, 16383, [host, port]]]})
        node = await Cluster([A], SLOT).owner(ask)
        alone = Endpoint(node.host, node.port, "", 0, "", None)
        await alone.open(lambda: Link(lambda _push: None, lambda: None))

    with pytest.raises(Unavailable):
        await reach()
    with pytest.raises(Unavailable):
        await reach_named()


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (OSError(111, ""), "Connection refused"),
        ([[0, 100, [A.host, 7000]]], f"no node serves slot {SLOT}"),
        ([], f"no node serves slot {SLOT}"),
        ("PONG", "its answer to CLUSTER SLOTS cannot be read"),
        ([[0, "x"]], "its answer to CLUSTER SLOTS cannot be read"),
        ([[0, 16383, [A.host]]], "its answer to CLUSTER SLOTS cannot be read"),
        ([[0, inf, [A.host, 7000]]], "its answer to CLUSTER SLOTS cannot be read"),
        ([[0, 16383]], f"no node serves slot {SLOT}"),
        ({0: 16383}, "its answer to CLUSTER SLOTS cannot be read"),
        ([[0, 1 << 70, [A.host, 7000]]], "its answer to CLUSTER SLOTS cannot be read"),
        ([[-1, 16383, [A.host, 7000]]], "its answer to CLUSTER SLOTS cannot be read"),
        ([[0, 16383, [A.host, -1]]], "its answer to CLUSTER SLOTS cannot be read"),
        ([[0, 16383, [[A.host], 7000]]], "its answer to CLUSTER SLOTS cannot be read"),
        ([[0, 16383, ["a\nb", 7000]]], "its answer to CLUSTER SLOTS cannot be read"),
        ([[0, 16383, "a1"]], "its answer to CLUSTER SLOTS cannot be read"),
        ([[0, 0, [A.host, 7000]]] * 16385, "its answer to CLUSTER SLOTS cannot be read"),
        (Unavailable("the store refused: NOPERM"), "NOPERM"),
    ],
)
async def test_no_owner(answer, problem):
    """Without an owner there is one line with the node and its problem."""
    ask, _ = asking({A: answer})
    with pytest.raises(Unavailable, match=problem) as refusal:
        await Cluster([A], SLOT).owner(ask)
    assert str(A) in str(refusal.value)
    assert "\n" not in str(refusal.value)


HOSTS = st.none() | st.text(max_size=4) | st.sampled_from([A.host, B.host, "x" * 256])
WHOLE = st.sampled_from([0, SLOT, 7000, 16383]) | st.integers()
VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | WHOLE | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=8,
)
NODES = (
    st.tuples(HOSTS, WHOLE, VALUES).map(list)
    | st.lists(HOSTS | WHOLE | VALUES, max_size=4)
    | VALUES
)
RANGES = st.builds(
    lambda first, last, nodes: [first, last, *nodes], WHOLE, WHOLE, st.lists(NODES, max_size=3)
)


ANSWERS = st.lists(RANGES | VALUES, max_size=4) | VALUES


@given(st.tuples(ANSWERS, ANSWERS))
@example(([[0, 16383]], [[0, 16383, [None, 7000, 10**5000]]]))
def test_any_answers_name_an_owner_or_none(replies):
    """No answer of a node ends the task that looks for the owner."""

    async def ask(node):
        return replies[node == A]

    async def look():
        cluster = Cluster([A, B], SLOT)
        with contextlib.suppress(Unavailable):
            await cluster.owner(ask)
        return await cluster.agreed(ask)

    assert isinstance(asyncio.run(look()), Address | None)


@given(ANSWERS)
@example([[0, 16383]])
def test_any_answer_is_read_or_refused(answer):
    """Each range that is read has an owner, slots that exist, and a name that fits a line."""
    try:
        found = read_slots(answer, A)
    except Unavailable:
        return
    for slots, nodes in found:
        assert 0 <= min(slots) <= max(slots) <= 16383
        assert nodes
        for node in nodes:
            assert 0 <= node.port <= 65535
            assert 0 < len(node.host) <= 255
            assert node.host.isprintable()


def test_a_node_without_a_host_is_at_the_host_that_was_asked():
    """A node that does not know its own address leaves it out."""
    assert read_slots([[0, 5, [None, 7001], ["", 7002]]], A) == [
        (range(6), [Address(A.host, 7001), Address(A.host, 7002)])
    ]


@pytest.mark.parametrize(
    ("text", "is_gone", "owner"),
    [
        ("MOVED 13907 10.0.0.1:7000", True, "10.0.0.1:7000"),
        ("READONLY You can't write against a read only replica.", True, ""),
        ("CLUSTERDOWN Hash slot not served", True, ""),
        ("CLUSTERDOWN The cluster is down", False, ""),
        ("ASK 13907 10.0.0.1:7000", False, ""),
        ("TRYAGAIN Multiple keys request during rehashing of slot", False, ""),
        ("LOADING Redis is loading the dataset in memory", False, ""),
        ("MASTERDOWN Link with MASTER is down", False, ""),
    ],
)
def test_refusals_because_of_the_slot(text, is_gone, owner):
    """Each refusal of a cluster is a fault; some say that the node lost the slot."""
    fault = slot_fault(text)
    assert (fault.is_gone, fault.owner) == (is_gone, owner)


@pytest.mark.parametrize("text", ["ERR unknown", "WRONGTYPE x", "NOPERM", "OOM command", "MOVEDX"])
def test_other_refusals(text):
    """A refusal with another cause is no fault of the slot."""
    assert slot_fault(text) is None


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (
            "redis+cluster://10.0.0.1:7000,10.0.0.2:7000",
            "redis+cluster://10.0.0.1:7000,10.0.0.2:7000",
        ),
        ("rediss+cluster://Store.example.com/0", "rediss+cluster://store.example.com:6379"),
        ("redis+cluster://[::1]:7000,b", "redis+cluster://[::1]:7000,b:6379"),
    ],
)
def test_accepted(url, shown):
    """A cluster has one or more nodes and no database."""
    endpoint = Endpoint.parse(url)
    assert str(endpoint) == shown
    assert endpoint.has_replicas
    assert endpoint.names.meta == "authz:{0}:meta"


def test_accepted_by_the_setting():
    """`redis.cluster: true` makes a redis:// URL that of a cluster."""
    assert str(Endpoint.parse("redis://a:1,b:2/", is_cluster=True)) == "redis+cluster://a:1,b:2"


@pytest.mark.parametrize(
    ("url", "options", "field"),
    [
        ("redis://a:1,b:2", {}, "redis.url"),
        ("redis+cluster://a:1/3", {}, "redis.url"),
        ("redis+cluster://a:1,,b:2", {}, "redis.url"),
        ("redis+cluster://", {}, "redis.url"),
        ("redis+cluster://me:secret@a:1", {}, "redis.url"),
        ("redis+cluster://a:1,b:0", {}, "redis.url"),
        ("unix+cluster:///run/a.sock", {}, "redis.url"),
        ("unix:///run/a.sock", {"is_cluster": True}, "redis.cluster"),
        ("redis+cluster://a", {"sentinel": Sentinel((A,), "mymaster")}, "redis.cluster"),
    ],
)
def test_refused(url, options, field):
    """A mistake names the setting, and no password."""
    with pytest.raises(BadInput) as refusal:
        Endpoint.parse(url, **options)
    assert refusal.value.field == field
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize(
    ("replicas", "acknowledging", "followed"),
    [
        (0, 0, False),
        (1, 1, True),
        (2, 1, True),
        (3, 1, False),
        (3, 2, True),
        (4, 2, False),
        (4, 3, True),
    ],
)
def test_all_replicas_but_one_have_to_acknowledge(replicas, acknowledging, followed):
    """An old primary and a new one can never both have enough of the replicas."""
    replication = Replication(lease=1)
    replication.start(0)
    for beat in range(20):
        offset = 100 * beat
        ports = range(replicas)
        role = [["10.0.0.1", "7000", str(offset if n < acknowledging else 0)] for n in ports]
        replication.observe(0.25 * beat, ["master", offset, role])
    assert replication.is_followed(4.75) is followed


def test_a_replica_that_left_is_forgotten_with_the_link():
    """A new link counts the replicas anew."""
    replication = Replication(lease=1)
    replication.start(0)
    replication.observe(0, ["master", 0, [["a", "1", "0"]] * 3])
    replication.start(10)
    for beat in range(8):
        replication.observe(10 + beat, ["master", beat, [["a", "1", str(beat)]]])
    assert replication.is_followed(17)
