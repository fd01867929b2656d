"""Composition root of commands over the admin API."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from authz.core.abuse import AbuseControl
from authz.flows.applying import Applying
from authz.flows.command_ports import KeyEditor, KeyExporter, SidecarFinder
from authz.flows.key_history import KeyHistory
from authz.flows.notifications.sinks import EventSinks
from authz.process.clock import SystemClock
from authz.remote.target import AdminTarget
from authz.wiring.session import BulkSession, FileSession, ImportSession, TokenSession, UsageSession

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # before its import: stderr is for our lines

from authz.client import AdminClient, AsyncAdminClient, admin_pb2
from authz.client.client import Tls
from authz.remote.abuse import RemoteAbuse
from authz.remote.audit import RemoteAudit
from authz.remote.calls import Calls
from authz.remote.declared_keys import RemoteApplied, RemoteDeclaredKeys
from authz.remote.due_keys import RemoteDueKeys, RemoteWaitingDeliveries
from authz.remote.editor import RemoteEditor
from authz.remote.events import RemoteSinks
from authz.remote.fleet import RemoteSidecars
from authz.remote.importing import RemoteImporter, stand_in
from authz.remote.limits import RemoteCredits, RemoteLimits
from authz.remote.many_keys import RemoteManyKeys
from authz.remote.reading import RemoteExport, RemoteKeys, RemoteTrail, RemoteUse
from authz.remote.tokens import RemoteTokens
from authz.remote.usage import RemoteUsage
from authz.remote.verification import RemoteVerifier


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteSession:
    """A BulkSession over the admin API."""

    finder: RemoteKeys
    many: RemoteManyKeys
    keys: RemoteKeys
    history: KeyHistory
    due: RemoteDueKeys
    deliveries: RemoteWaitingDeliveries
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
            due=RemoteDueKeys(found),
            deliveries=RemoteWaitingDeliveries(found),
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
async def event_session(target: AdminTarget) -> AsyncIterator[EventSinks]:
    """Yield the events and sinks. Raises the errors of `calls`."""
    async with calls(target) as found:
        yield RemoteSinks(found)


@asynccontextmanager
async def token_session(target: AdminTarget) -> AsyncIterator[TokenSession]:
    """Yield a TokenSession. Raises the errors of `calls`."""
    async with calls(target) as found:
        tokens = RemoteTokens(found)
        yield TokenSession(tokens, tokens, tokens)


@asynccontextmanager
async def exporter(target: AdminTarget) -> AsyncIterator[KeyExporter]:
    """Yield the exporter of keys. Raises the errors of `calls`."""
    async with calls(target) as found:
        yield RemoteExport(found, SystemClock(), RemoteApplied(found))


@asynccontextmanager
async def file_session(target: AdminTarget) -> AsyncIterator[FileSession]:
    """Yield a FileSession. Raises the errors of `calls`."""
    async with calls(target) as found:
        clock, applied = SystemClock(), RemoteApplied(found)
        exporter = RemoteExport(found, clock, applied)
        applying = Applying(
            exporter=exporter,
            keys=RemoteDeclaredKeys(found, RemoteEditor(found), exporter),
            history=KeyHistory(RemoteTrail(found)),
            applied=applied,
            clock=clock,
        )
        yield FileSession(applying, exporter)


@asynccontextmanager
async def plans(target: AdminTarget) -> AsyncIterator[frozenset[str]]:
    """Yield the names of the plans of the server. Raises the errors of `calls`."""
    async with calls(target) as found:
        yield frozenset(each.plan for each in (await _installation(found)).plans)


@asynccontextmanager
async def sidecars(target: AdminTarget) -> AsyncIterator[SidecarFinder]:
    """Yield the finder of sidecars. Raises the errors of `calls`."""
    async with calls(target) as found:
        yield RemoteSidecars(found)


@asynccontextmanager
async def abuse(target: AdminTarget) -> AsyncIterator[AbuseControl]:
    """Yield the control of blocked clients. Raises the errors of `calls`."""
    async with calls(target) as found:
        yield RemoteAbuse(found)


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
        about = await _installation(found)
    with AdminClient(address, credential=target.credential, tls=_tls(target)) as client:
        importer = RemoteImporter(client, address, note)
        plans = [each.plan for each in about.plans]
        yield ImportSession(importer, stand_in(about), plans)


async def _installation(calls: Calls) -> admin_pb2.GetInstallationResponse:
    request = admin_pb2.GetInstallationRequest()
    found: admin_pb2.GetInstallationResponse = await calls.read(
        calls.client.admin.GetInstallation, request
    )
    return found


def _tls(target: AdminTarget) -> Tls | None:
    pem = target.tls
    return Tls(pem.root, pem.chain, pem.key) if pem else None
