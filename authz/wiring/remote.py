"""Composition root of commands over the admin API."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from authz.flows.command_ports import KeyEditor, KeyExporter, SidecarFinder
from authz.flows.key_history import KeyHistory
from authz.process.clock import SystemClock
from authz.remote.target import AdminTarget
from authz.wiring.session import BulkSession, ImportSession, UsageSession

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # before its import: stderr is for our lines

from authz.client import AdminClient, AsyncAdminClient, admin_pb2
from authz.client.client import Tls
from authz.remote.audit import RemoteAudit
from authz.remote.calls import Calls
from authz.remote.editor import RemoteEditor
from authz.remote.fleet import RemoteSidecars
from authz.remote.importing import RemoteImporter, stand_in
from authz.remote.limits import RemoteCredits, RemoteLimits
from authz.remote.many_keys import RemoteManyKeys
from authz.remote.reading import RemoteExport, RemoteKeys, RemoteTrail, RemoteUse
from authz.remote.usage import RemoteUsage
from authz.remote.verification import RemoteVerifier


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteSession:
    """A BulkSession over the admin API."""

    finder: RemoteKeys
    many: RemoteManyKeys
    keys: RemoteKeys
    history: KeyHistory
    usage: RemoteUse
    credits: RemoteCredits
    limits: RemoteLimits


@asynccontextmanager
async def calls(target: AdminTarget) -> AsyncIterator[Calls]:
    """Yield the calls of an admin API that answers, and close the connection at the end.

    Raises Unavailable if it does not answer or refuses the credential.
    """
    address, tls = str(target.address), _tls(target)
    async with AsyncAdminClient(address, credential=target.credential, tls=tls) as client:
        found = Calls(client, address)
        await found.begin()
        yield found


@asynccontextmanager
async def editor(target: AdminTarget) -> AsyncIterator[KeyEditor]:
    """Yield the editor of commands that make or change one key. Raises the errors of `calls`."""
    async with calls(target) as found:
        yield RemoteEditor(found)


@asynccontextmanager
async def bulk_session(target: AdminTarget) -> AsyncIterator[BulkSession]:
    """Yield a BulkSession. Raises the errors of `calls`."""
    async with calls(target) as found:
        clock = SystemClock()
        keys = RemoteKeys(found, clock)
        yield RemoteSession(
            finder=keys,
            many=RemoteManyKeys(found, RemoteEditor(found), keys, clock),
            keys=keys,
            history=KeyHistory(RemoteTrail(found)),
            usage=RemoteUse(found, keys),
            credits=RemoteCredits(found),
            limits=RemoteLimits(found),
        )


@asynccontextmanager
async def usage_session(target: AdminTarget) -> AsyncIterator[UsageSession]:
    """Yield a UsageSession. Raises the errors of `calls`."""
    async with calls(target) as found:
        usage = RemoteUsage(found)
        yield UsageSession(usage, usage)


@asynccontextmanager
async def exporter(target: AdminTarget) -> AsyncIterator[KeyExporter]:
    """Yield the exporter of keys. Raises the errors of `calls`."""
    async with calls(target) as found:
        yield RemoteExport(found, SystemClock())


@asynccontextmanager
async def sidecars(target: AdminTarget) -> AsyncIterator[SidecarFinder]:
    """Yield the finder of sidecars. Raises the errors of `calls`."""
    async with calls(target) as found:
        yield RemoteSidecars(found)


@asynccontextmanager
async def verifier(target: AdminTarget) -> AsyncIterator[RemoteVerifier]:
    """Yield the verifier of keys. Raises the errors of `calls`."""
    async with calls(target) as found:
        yield RemoteVerifier(found)


@asynccontextmanager
async def audit(target: AdminTarget) -> AsyncIterator[RemoteAudit]:
    """Yield the audit trail. Raises the errors of `calls`."""
    async with calls(target) as found:
        yield RemoteAudit(found, RemoteKeys(found, SystemClock()))


@asynccontextmanager
async def importing(target: AdminTarget, note: str) -> AsyncIterator[ImportSession]:
    """Yield the parts of an import. Raises the errors of `calls`."""
    address = str(target.address)
    async with calls(target) as found:
        about = await found.read(
            found.client.admin.GetInstallation, admin_pb2.GetInstallationRequest()
        )
    with AdminClient(address, credential=target.credential, tls=_tls(target)) as client:
        importer = RemoteImporter(client, address, note)
        plans = [each.plan for each in about.plans]
        yield ImportSession(importer, stand_in(about), plans)


def _tls(target: AdminTarget) -> Tls | None:
    pem = target.tls
    return Tls(pem.root, pem.chain, pem.key) if pem else None
