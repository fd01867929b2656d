"""Endpoint: accepted addresses and login."""

import pytest
import redis

from authz.core.errors import BadInput, Unavailable
from authz.core.listen_address import Address
from authz.storage.endpoint import Endpoint
from authz.storage.keys import StoredKeys
from authz.storage.link import Link
from authz.storage.sentinel import Sentinel
from authz.storage.tls import TlsFiles
from tests.support.fakes import make_keyring
from tests.support.real import eventually
from tests.support.storage.scripted import scripted_store
from tests.support.storage.sidecar import Sidecar


async def greeted(endpoint):
    """Yield a link after HELLO."""
    link = await endpoint.open(lambda: Link(lambda _push: None, lambda: None))
    try:
        await endpoint.greet(link, "test")
    except Unavailable:
        link.abort()
        raise
    return link


async def whoami(endpoint):
    """Return the store's user of a link and of a client."""
    link = await greeted(endpoint)
    client = endpoint.client()
    try:
        user = await link.call("ACL", "WHOAMI")
        assert await client.acl_whoami() == user
    finally:
        link.abort()
        await client.aclose()
    return user


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://127.0.0.1", "redis://127.0.0.1:6379/0"),
        ("redis://127.0.0.1/", "redis://127.0.0.1:6379/0"),
        ("redis://127.0.0.1:7000", "redis://127.0.0.1:7000/0"),
        ("redis://store.example.com.:7000", "redis://store.example.com.:7000/0"),
        ("redis://store.example.com:7000/3", "redis://store.example.com:7000/3"),
        ("redis://[::1]:7000/0", "redis://[::1]:7000/0"),
        ("REDIS://LOCALHOST:7000/0", "redis://localhost:7000/0"),
        ("rediss://store.example.com:7000/3", "rediss://store.example.com:7000/3"),
        ("unix:///run/valkey.sock", "unix:///run/valkey.sock?db=0"),
        ("unix:/run/valkey.sock?db=2", "unix:///run/valkey.sock?db=2"),
        ("unix:///run/a%20b.sock", "unix:///run/a b.sock?db=0"),
    ],
)
def test_accepted(url, shown):
    """A valid address is accepted and shown completely."""
    assert str(Endpoint.parse(url)) == shown


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:6379",
        "localhost",
        "http://127.0.0.1:6379",
        "rediss://",
        "redis:",
        "redis://",
        "redis:///0",
        "redis://:6379",
        "redis://127.0.0.1:0",
        "redis://127.0.0.1:65536",
        "redis://127.0.0.1:six",
        "redis://127.0.0.1:6379/x",
        "redis://127.0.0.1:6379/-1",
        "redis://127.0.0.1:6379/٣",
        "redis://127.0.0.1:6379/0/0",
        "redis://127.0.0.1:6379/0?db=1",
        "redis://127.0.0.1:6379/0#1",
        "redis://[::1",
        "redis://a b",
        "redis://" + "a" * 64 + ".example.com",
        "redis://ex\u00e4mple..com",
        "unix:",
        "unix://",
        "unix://run/valkey.sock",
        "unix:valkey.sock",
        "unix:///run/valkey.sock?db=x",
        "unix:///run/valkey.sock?1",
        "unix:///run/valkey.sock?db=1&x=2",
        "unix:///run/valkey.sock#1",
    ],
)
def test_refused(url):
    """An invalid address is refused with the setting's name and a valid example."""
    with pytest.raises(BadInput, match=r"redis://127\.0\.0\.1:6379/0") as refusal:
        Endpoint.parse(url)
    assert refusal.value.field == "redis.url"


@pytest.mark.parametrize(
    "url",
    [
        "redis://:hunter2@127.0.0.1:6379",
        "redis://me:hunter2@127.0.0.1",
        "redis://hunter2@127.0.0.1",
        "unix://:hunter2@/run/valkey.sock",
    ],
)
def test_no_password_in_the_address(url):
    """A password in the address is refused and not shown."""
    with pytest.raises(BadInput, match="password_file") as refusal:
        Endpoint.parse(url)
    assert "hunter2" not in str(refusal.value)


def test_tls_is_for_rediss():
    """Certificates for an address without TLS are refused."""
    with pytest.raises(BadInput, match=r"redis\.tls.*rediss://"):
        Endpoint.parse("redis://127.0.0.1", tls=TlsFiles())


def test_sentinel():
    """Behind Sentinel the address shows the Sentinels and the service. A Unix socket is refused."""
    hosts = (Address("10.0.0.1", 26379), Address("10.0.0.2", 26379))
    sentinel = Sentinel(hosts, "mymaster")
    found = Endpoint.parse("redis://unused/3", sentinel=sentinel)
    assert str(found) == "mymaster behind Sentinel 10.0.0.1:26379, 10.0.0.2:26379"
    assert (found.db, found.has_replicas) == (3, True)
    with pytest.raises(BadInput, match=r"redis\.sentinel"):
        Endpoint.parse("unix:///run/valkey.sock", sentinel=sentinel)


async def test_unix_socket_and_database(valkey):
    """A store on a Unix socket is reached in the database that the address names."""
    endpoint = Endpoint.parse(f"unix://{valkey.socket_path}?db=2")
    link = await greeted(endpoint)
    client = endpoint.client()

    await link.call("SET", "where", "two")
    assert await client.get("where") == "two"
    assert valkey.admin.get("where") is None

    link.abort()
    await client.aclose()


async def test_database_that_is_not_there(valkey):
    """A database that the store does not have is refused with the store's error."""
    with pytest.raises(Unavailable, match="out of range"):
        await greeted(Endpoint.parse(f"redis://127.0.0.1:{valkey.port}/9999"))


async def test_login(valkey):
    """A named user with a password, one without, and the default user can log in."""
    valkey.admin.execute_command("ACL", "SETUSER", "with", "on", ">hunter2", "~*", "+@all")
    valkey.admin.execute_command("ACL", "SETUSER", "without", "on", "nopass", "~*", "+@all")

    assert await whoami(valkey.login("with", "hunter2\n")) == "with"
    assert await whoami(Endpoint.parse(valkey.url, "without")) == "without"
    assert await whoami(Endpoint.parse(valkey.url)) == "default"


async def test_password_file_is_read_at_every_connect(valkey):
    """A changed password file is used from the next connection on."""
    valkey.admin.execute_command("ACL", "SETUSER", "app", "on", ">old", "~*", "+@all")
    endpoint = valkey.login("app", "old")
    assert await whoami(endpoint) == "app"

    valkey.admin.execute_command("ACL", "SETUSER", "app", "resetpass", ">new")
    with pytest.raises(Unavailable, match="WRONGPASS"):
        await greeted(endpoint)
    endpoint.password_file.write_text("new")
    assert await whoami(endpoint) == "app"
    endpoint.password_file.write_text("\n")
    with pytest.raises(Unavailable, match=f"and {endpoint.password_file} is empty"):
        await greeted(endpoint)


async def test_a_refused_login_names_what_is_missing(valkey):
    """A store that wants a password, and no password_file: the setting is named."""
    valkey.admin.config_set("requirepass", "pw")
    try:
        with pytest.raises(Unavailable, match=r"and redis\.password_file is not set"):
            await greeted(Endpoint.parse(valkey.url))
    finally:
        valkey.admin.config_set("requirepass", "")


@pytest.mark.parametrize("content", [None, b"\xff\xfe not text"])
async def test_password_file_that_cannot_be_read(valkey, tmp_path, content):
    """An unusable password file is named and its content is not shown."""
    file = tmp_path / "password"
    if content:
        file.write_bytes(content)
    endpoint = Endpoint.parse(valkey.url, "", file)

    with pytest.raises(Unavailable, match=r"redis\.password_file.*password"):
        await greeted(endpoint)
    with pytest.raises(Unavailable, match=r"redis\.password_file"):
        endpoint.client()


async def test_a_store_too_old_for_hello_does_not_reveal_the_password(tmp_path):
    """An old store quotes an unknown command; that text is not passed on."""
    file = tmp_path / "password"
    file.write_text("hunter2")

    async def script(peer):
        quoted = ", ".join(f"`{word}`" for word in (await peer.command())[1:])
        await peer.say(
            f"-ERR unknown command `HELLO`, with args beginning with: {quoted}, \r\n".encode()
        )
        await peer.command()

    async with scripted_store(script) as address:
        endpoint = Endpoint.parse(str(address), "app", file)
        with pytest.raises(Unavailable, match="RESP3; Redis 7 or Valkey") as refusal:
            await greeted(endpoint)
    assert "hunter2" not in str(refusal.value)


async def test_client_survives_a_connection_that_was_closed(valkey):
    """A connection that the store closed while idle is replaced without an error."""
    client, other = valkey.endpoint.client(), valkey.endpoint.client()
    await client.ping()
    valkey.admin.client_kill_filter(_id=await client.client_id())
    await other.ping()  # the end of the connection arrives before this answer
    await other.ping()

    assert await client.ping()
    await client.aclose()
    await other.aclose()


async def test_client_gives_up_in_time(own_valkey):
    """If the store hangs, a call of the client fails after its timeout."""
    client = own_valkey.endpoint.client(timeout=0.1)
    await client.ping()
    own_valkey.pause()
    with pytest.raises(redis.TimeoutError):
        await client.ping()
    await client.aclose()


OLD_HELLO = b"%3\r\n+server\r\n+redis\r\n+version\r\n+6.2.14\r\n+role\r\n+master\r\n"


async def old_store(peer):
    """Answer as Redis 6.2 does."""
    while command := await peer.command():
        await peer.say(OLD_HELLO if command[0].upper() == "HELLO" else b"+OK\r\n")


async def test_an_old_server():
    """A server before Redis 7 is refused by a sidecar and by `authz init`, with its version."""
    problem = "redis 6.2.14; Redis 7 or Valkey is needed"
    async with scripted_store(old_store) as address:
        async with Sidecar(address) as sidecar:
            await eventually(lambda: problem in sidecar.reason)
        async with address.client() as client:
            with pytest.raises(Unavailable, match=problem):
                await StoredKeys(client).initialise(make_keyring().fingerprints)
