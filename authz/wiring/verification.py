"""Composition root of the commands that are given a key: to verify it, or to revoke it."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from authz.core.admin_ports import ImportStore, KeyStore
from authz.core.decision import Decision
from authz.core.request import Request
from authz.flows.limits.limit_report import LimitReports
from authz.flows.verify import Verifier
from authz.process.clock import SystemClock
from authz.settings.model import Settings
from authz.storage.meta import KnownPeppers
from authz.storage.signing_keys import StoredSigningKeys
from authz.wiring.administration import keyring, limit_policy, our_parts
from authz.wiring.extraction import extractor, responder
from authz.wiring.token_gate import ReadEntries, Uncounted, token_gate


@dataclass(frozen=True, slots=True)
class AdminSession:
    """The objects of these commands.

    read: parses a CheckRequest. write: writes a CheckResponse. imports: None if no keys were ever
    imported.
    """

    verifier: Verifier
    read: Callable[[bytes], Request]
    write: Callable[[Decision, Request], bytes]
    imports: ImportStore | None
    keys: KeyStore


@asynccontextmanager
async def admin_session(settings: Settings) -> AsyncIterator[AdminSession]:
    """Yield an AdminSession, and close its client at the end.

    Raises the errors of `administration`.
    """
    clock, ring = SystemClock(), keyring(settings)
    reading = extractor(settings, ring)
    async with our_parts(settings, ring) as parts:
        keys, peppers = parts.keys, KnownPeppers(await parts.peppers(), ring.fingerprints)
        imports = parts.imports if await parts.has_imports() else None
        reports = LimitReports(parts.counters, limit_policy(settings), clock)
        tokens = None
        if settings.tokens.issuer:
            entries = ReadEntries(await StoredSigningKeys(parts.first).entries())
            tokens = token_gate(settings, ring, entries, clock, Uncounted())
        verifier = Verifier(keys, peppers, clock, reports, imports, tokens=tokens)
        write = responder(settings, reading).write
        yield AdminSession(verifier, reading.read, write, imports, keys)
