"""The settings and addresses of the processes of one command."""

import stat
from pathlib import Path

import pytest

from authz.core.errors import BadInput
from authz.core.listen_address import Address
from authz.settings.model import load
from authz.wiring.live_settings import settings_hash
from authz.wiring.several import (
    addresses,
    check_addresses,
    of_process,
    operations_addresses,
)


def given(**sections):
    """Return settings with these sections."""
    return load(flags=sections, environ={})


@pytest.mark.parametrize(
    ("listen", "second"),
    [
        ("127.0.0.1:9191", "127.0.0.1:9193"),
        ("[::1]:9191", "[::1]:9193"),
        ("unix:/run/authz/check.sock", "unix:/run/authz/check-2.sock"),
        ("unix:/run/authz/check", "unix:/run/authz/check-2"),
        ("unix:/run/authz.d/check", "unix:/run/authz.d/check-2"),
    ],
)
def test_each_process_has_an_address_of_its_own(listen, second):
    """The number is added to the port, or stands before the suffix of a path."""
    found = addresses(Address.parse("", listen), 3)
    assert [str(found[2]), len(set(found))] == [second, 3]


@pytest.mark.parametrize(
    ("listen", "problem"),
    [
        ("127.0.0.1:0", "several processes need a port of their own each"),
        ("127.0.0.1:65534", "process 2 would need 65536"),
        ("unix:/" + "x" * 105, "a socket path has at most 107 bytes"),
    ],
)
def test_an_address_without_room_is_refused(listen, problem):
    """The message names `check.listen`."""
    with pytest.raises(BadInput, match=problem) as found:
        addresses(Address.parse("", listen), 3)
    assert found.value.field == "check.listen"


@pytest.mark.parametrize(
    ("listen", "ops", "health"),
    [
        ("127.0.0.1:9191", "127.0.0.1:9192", None),  # the defaults
        ("127.0.0.1:9191", "0.0.0.0:9192", None),
        ("[::]:9191", "127.0.0.1:9192", None),
        ("127.0.0.1:9191", "127.0.0.1:9290", "127.0.0.1:9192"),
        ("unix:/run/authz/a.sock", "unix:/run/authz/a-1.sock", None),
    ],
)
def test_an_address_that_the_parent_takes_is_refused(listen, ops, health):
    """Its process could never start: the parent has that address from the start."""
    settings = given(check={"listen": listen}, ops={"listen": ops, "health_listen": health})
    with pytest.raises(BadInput, match="would be that of process 1, and is ops") as found:
        check_addresses(settings, 2)
    assert found.value.field == "check.listen"


def test_an_address_of_the_operations_of_a_process_is_refused():
    """Each process serves its operations beside `ops.listen`, if that is a path."""
    path = "unix:/run/authz/a.sock"
    settings = given(check={"listen": path}, ops={"listen": path})
    with pytest.raises(BadInput, match=r"a-0\.sock would be that of process 0, and is ops"):
        check_addresses(settings, 2)


@pytest.mark.parametrize("ops", ["127.0.0.1:9193", "10.0.0.1:9192", "unix:/run/authz/ops.sock"])
def test_an_address_that_the_parent_does_not_take_is_free(ops):
    """The same port of another address counts as free, too."""
    settings = given(check={"listen": "127.0.0.1:9191"}, ops={"listen": ops})
    assert [each.port for each in check_addresses(settings, 2)] == [9191, 9192]


def test_a_process_has_its_own_snapshot_and_no_health_listener():
    """All else is as in the settings, so they have the same version."""
    settings = given(
        check={"listen": "unix:/run/authz/check.sock"},
        ops={"health_listen": "127.0.0.1:9195"},
        cache={"snapshot": "/var/lib/authz/cache.snapshot"},
    )
    found = of_process(settings, 1)
    assert found.cache.snapshot == Path("/var/lib/authz/cache-1.snapshot")
    assert found.check.listen.path == "/run/authz/check-1.sock"
    assert found.ops.health_listen is None
    assert settings_hash(found) == settings_hash(settings)
    assert of_process(given(), 1).cache.snapshot is None


def test_operations_sockets_lie_beside_a_path_else_in_a_private_directory():
    """The directory is for this user alone and is removed."""
    with operations_addresses(given(ops={"listen": "unix:/run/authz/ops.sock"}), 2) as found:
        assert [each.path for each in found] == ["/run/authz/ops-0.sock", "/run/authz/ops-1.sock"]
    with operations_addresses(given(), 2) as found:
        directory = Path(found[1].path).parent
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert not directory.exists()
