"""Targets of new secrets over real sockets: the requests, refusals, and internal addresses."""

import asyncio
import errno
import fcntl
import json
import logging
import os
import threading
import time
from functools import partial

import pytest

from authz.core.delivery import Parcel, Undelivered
from authz.core.errors import BadInput, Unavailable
from authz.core.fields import networks
from authz.core.notifications.bodies import is_signed, signing_secret
from authz.core.public_addresses import may_be_reached
from authz.process.secret_targets import (
    DirectoryTarget,
    KubernetesTarget,
    VaultTarget,
    WebhookTarget,
    in_cluster,
)
from authz.process.web_client import WebClient
from tests.support.fakes import KID, FakeClock
from tests.support.real import eventually
from tests.support.secret_stores import TOKEN, Hook, Kubernetes, Vault

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
TEXT = "ak_live_7Hk2mQ9xT4bVzR1c_and_its_secret"
LOOPBACK = networks("", ["127.0.0.0/8"])


def parcel(kid=KID, number="2", text=TEXT):
    """Return the new secret of a key."""
    return Parcel(kid, number, 1_000, "acme-web", "shop", "acme", text)


def client(allowed=LOOPBACK):
    """Return a client that may use these internal networks."""
    return WebClient(seconds=2, permits=partial(may_be_reached, allowed=allowed))


def kubernetes(server, tmp_path, allowed=LOOPBACK):
    """Return a target in the namespace shop."""
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    place = {"namespace": "shop", "name": "authz-{client}", "entry": "{kid}"}
    return KubernetesTarget(client(allowed), server.url, tmp_path / "token", **place)


def vault(server, tmp_path, allowed=LOOPBACK):
    """Return a target below the path authz."""
    (tmp_path / "token").write_text(TOKEN)
    place = {"mount": "secret", "path": "authz/{client}/{kid}"}
    return VaultTarget(client(allowed), server.url, tmp_path / "token", **place)


def webhook(server, tmp_path, allowed=LOOPBACK):
    """Return a signed webhook."""
    (tmp_path / "secret").write_text(SECRET)
    return WebhookTarget(client(allowed), f"{server.url}/in", tmp_path / "secret", FakeClock())


BOTH = pytest.mark.parametrize(
    ("double", "make"), [(Kubernetes, kubernetes), (Vault, vault), (Hook, webhook)]
)


async def test_two_keys_share_a_secret_of_kubernetes(tmp_path):
    """Each key has its own entry. A second delivery replaces the entry of that key alone."""
    with Kubernetes().serving() as server:
        target = kubernetes(server, tmp_path)
        other = "0" * 16
        await target.deliver(parcel())
        await target.deliver(parcel(other, text="of the other"))
        await target.deliver(parcel(number="3", text="newer"))
        assert server.secret("shop", "authz-acme-web") == {KID: "newer", other: "of the other"}


async def test_a_secret_of_a_thousand_keys(tmp_path):
    """The answer has all entries of the Secret, and may be as large as one."""
    with Kubernetes().serving() as server:
        about = {"name": "authz-acme-web", "managedFields": ["x" * 300] * 3000}
        server.forced = 200, {"kind": "Secret", "metadata": about, "data": {}}
        await kubernetes(server, tmp_path).deliver(parcel())


async def test_vault(tmp_path):
    """Each delivery is a new version with the text, the kid and the number of the secret."""
    with Vault().serving() as server:
        await vault(server, tmp_path).deliver(parcel())
        expected = {"api_key": TEXT, "kid": KID, "secret": "2"}
        assert server.newest(f"authz/acme-web/{KID}") == expected


async def test_a_webhook(tmp_path):
    """The body is signed, and the id is the same at each try."""
    with Hook().serving() as server:
        target = webhook(server, tmp_path)
        await target.deliver(parcel())
        await target.deliver(parcel())
        [(headers, body), (again, _)] = server.accepted
    assert is_signed(headers, body, [signing_secret(SECRET)], FakeClock().wall_ms() // 1000)
    assert headers["webhook-id"] == again["webhook-id"] == f"{KID}-2"
    assert json.loads(body)["data"]["api_key"] == TEXT


async def test_a_directory(tmp_path):
    """The file has mode 0600 and the newest secret. No other file stays."""
    target = DirectoryTarget(tmp_path)
    await target.deliver(parcel(text="older"))
    await target.deliver(parcel())
    [file] = tmp_path.iterdir()
    assert (file.name, file.read_text()) == (f"{KID}.key", f"{TEXT}\n")
    assert file.stat().st_mode & 0o777 == 0o600


async def test_a_directory_that_others_may_write_to(tmp_path):
    """Nothing is written: somebody could replace the file."""
    tmp_path.chmod(0o777)
    with pytest.raises(Undelivered):
        await DirectoryTarget(tmp_path).deliver(parcel())
    assert not list(tmp_path.iterdir())
    with pytest.raises(Unavailable):
        await DirectoryTarget(tmp_path / "missing").deliver(parcel())


async def test_a_directory_that_hangs(tmp_path, monkeypatch):
    """A disk that does not answer costs the time bound. Later the given-up file gets no name."""
    released = threading.Event()
    monkeypatch.setattr(os, "fsync", lambda _descriptor: released.wait(60))
    target = DirectoryTarget(tmp_path, seconds=0.1)
    try:
        with pytest.raises(Unavailable, match=r"not written within 0\.1 s"):
            await asyncio.wait_for(target.deliver(parcel()), 20)
        with pytest.raises(Unavailable, match="an earlier write still hangs"):
            await target.deliver(parcel())
    finally:
        released.set()
    await eventually(lambda: not list(tmp_path.glob("*.new")))
    assert not list(tmp_path.iterdir())


async def test_a_directory_that_another_process_has_locked(tmp_path):
    """A lock of a process that may only read the directory stops nothing."""
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        await DirectoryTarget(tmp_path, seconds=20).deliver(parcel())
    finally:
        os.close(descriptor)
    [file] = tmp_path.iterdir()
    assert file.read_text() == f"{TEXT}\n"


async def test_two_processes_deliver_at_once(tmp_path, monkeypatch):
    """The file is always one whole secret: each process has a temporary file of its own."""
    began, released, flush = threading.Event(), threading.Event(), os.fsync

    def first_waits(descriptor):
        if not began.is_set():
            began.set()
            released.wait(60)
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", first_waits)
    file = tmp_path / f"{KID}.key"
    first = asyncio.create_task(DirectoryTarget(tmp_path, 60).deliver(parcel(text="of one")))
    try:
        await asyncio.to_thread(began.wait, 60)
        await DirectoryTarget(tmp_path, 20).deliver(parcel())
        assert file.read_text() == f"{TEXT}\n"
    finally:
        released.set()
    await first
    assert file.read_text() == "of one\n"
    assert list(tmp_path.iterdir()) == [file]


async def test_a_disk_that_fails(tmp_path, monkeypatch):
    """The earlier secret stays, and the temporary file goes."""
    await DirectoryTarget(tmp_path).deliver(parcel(text="older"))

    def fail(_descriptor):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(Unavailable, match="Input/output error"):
        await DirectoryTarget(tmp_path).deliver(parcel())
    [file] = tmp_path.iterdir()
    assert file.read_text() == "older\n"


async def test_temporary_files_of_killed_processes(tmp_path):
    """The next delivery of any key removes those that are older than 10 minutes, and no others."""
    old, random = time.time() - 700, "0123456789abcdef"
    gone = [f"{KID}.key.{random}.new", f"{'b' * 16}.key.{random}.new", f"{KID}.key.new"]
    kept = ["notes.new", f"{KID}.key.{random}", f"{'b' * 16}.key"]
    for name in (*gone, *kept):
        (tmp_path / name).write_text("x")
        os.utime(tmp_path / name, (old, old))
    young = f"{KID}.key.{random[::-1]}.new"
    (tmp_path / young).write_text("x")
    await DirectoryTarget(tmp_path).deliver(parcel())
    assert {one.name for one in tmp_path.iterdir()} == {*kept, young, f"{KID}.key"}


@BOTH
@pytest.mark.parametrize("status", [301, 307, 400, 401, 403, 404, 409, 413, 422])
async def test_a_refusal(double, make, status, tmp_path):
    """The target does not have the secret, and a redirect is not followed."""
    with double().serving() as server:
        server.forced = status, {"message": f"no {TEXT}"}
        with pytest.raises(Undelivered) as refused:
            await make(server, tmp_path).deliver(parcel())
        assert len(server.requests) == 1
    assert str(refused.value) == f"the target answered {status}"


@BOTH
@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
async def test_an_answer_that_may_change(double, make, status, tmp_path):
    """The target may have the secret, or may take it later."""
    with double().serving() as server:
        server.forced = status, {}
        with pytest.raises(Unavailable):
            await make(server, tmp_path).deliver(parcel())


@pytest.mark.parametrize(("double", "make"), [(Kubernetes, kubernetes), (Vault, vault)])
@pytest.mark.parametrize(
    "answer",
    [
        *((200, one) for one in (None, [], "<html>", {}, {"data": None}, {"data": {"version": 0}})),
        (200, {"kind": "Secret", "metadata": {"name": "another"}}),
        (200, {"kind": "Status", "metadata": {"name": "authz-acme-web"}}),
        (200, {"kind": "Secret", "metadata": []}),
        (200, {"wrap_info": {"token": "of a control group"}, "data": None}),
        (202, {"data": {"version": "1"}}),
    ],
)
async def test_an_answer_that_confirms_nothing(double, make, answer, tmp_path):
    """A proxy in between, or a store of version 1, may answer 200 and have no such secret."""
    with double().serving() as server:
        server.forced = answer
        with pytest.raises(Unavailable, match="does not say that it has the secret"):
            await make(server, tmp_path).deliver(parcel())


@BOTH
async def test_a_target_that_is_down(double, make, tmp_path, caplog):
    """Nothing that is raised or logged has the secret or the token."""
    caplog.set_level(logging.DEBUG)
    with double().serving() as server:
        target = make(server, tmp_path)
    with pytest.raises(Unavailable) as failed:
        await target.deliver(parcel())
    for text in (str(failed.value), caplog.text):
        assert TEXT not in text
        assert TOKEN not in text


@BOTH
async def test_an_endless_answer(double, make, tmp_path):
    """More than 256 KiB of an answer are not read, and of Kubernetes more than 4 MiB."""
    with double().serving() as server:
        server.forced = 200, {"data": "x" * (5_000_000 if double is Kubernetes else 300_000)}
        with pytest.raises(Unavailable, match="more than"):
            await make(server, tmp_path).deliver(parcel())


@BOTH
async def test_an_internal_address(double, make, tmp_path):
    """Without allowed_networks no connection is made to the own network."""
    with double().serving() as server:
        with pytest.raises(Unavailable, match="not permitted"):
            await make(server, tmp_path, allowed=()).deliver(parcel())
        assert not server.requests


@pytest.mark.parametrize("content", [None, b"", b"two\nlines", b"\xff"])
async def test_a_token_file_that_cannot_be_used(content, tmp_path):
    """Nothing is sent, and another try may succeed."""
    with Vault().serving() as server:
        target = vault(server, tmp_path)
        file = tmp_path / "token"
        file.unlink() if content is None else file.write_bytes(content)
        with pytest.raises(Unavailable):
            await target.deliver(parcel())
        assert not server.requests


def test_the_address_of_the_cluster():
    """A pod finds the API server in its environment; IPv6 is in brackets."""
    assert in_cluster({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}) == "https://10.0.0.1:443"
    found = in_cluster({"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"})
    assert found == "https://[fd00::1]:6443"
    with pytest.raises(BadInput, match="not in a cluster"):
        in_cluster({})
