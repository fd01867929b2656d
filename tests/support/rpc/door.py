"""A CheckHandler over fakes: everything between the bytes and the store is real."""

import asyncio

from envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse

from authz.core.records import KeyRecord
from authz.flows.check import Checker
from authz.rpc.check.extract import Extractor
from authz.rpc.check.handler import CheckHandler
from authz.rpc.check.respond import Responder
from tests.support.caches import make_cache
from tests.support.fakes import FakeClock, MemoryKeySource, RecordingProbe, issue_record
from tests.support.rpc.reading import CARRIERS, RING


class OurPeppers:
    """A PepperProof of a store that has our peppers."""

    def refutes(self, _pepper_version: str) -> bool:
        """Implement PepperProof.refutes."""
        return True


class Door:
    """A CheckHandler and what it stands on. The store answers when `source` is told to.

    reading: settings of the extractor.
    """

    def __init__(self, grace: float = 0.0, **reading) -> None:
        self.clock, self.source, self.probe = FakeClock(), MemoryKeySource(), RecordingProbe()
        self.cache = make_cache(self.source, self.clock, self.probe, grace=grace)
        self.cache.trust(float("inf"))
        self.extractor = Extractor(RING, carriers=CARRIERS, **reading)
        self.checker = Checker(self.cache, OurPeppers(), self.clock, self.probe)
        self.responder = Responder(
            header_prefix="x-auth-",
            removed_headers=("x-api-key",),
            query=reading.get("query", ""),
            find_keys=self.extractor.find_keys,
        )
        self.compose()

    def compose(self) -> None:
        """Make the handler from its current parts."""
        self.real = CheckHandler(self.extractor, self.checker, self.responder, self.probe)
        self.check = self.real.check

    def issue(self, **overrides) -> tuple[KeyRecord, str]:
        """Return a key that the store knows, and its text."""
        record, text = issue_record(RING, **overrides)
        self.source.records[record.kid] = record
        return record, text

    async def answer(self, message: CheckRequest | bytes) -> CheckResponse:
        """Return the answer to a request; the store answers at once."""
        raw = message if isinstance(message, bytes) else message.SerializeToString()
        made = self.check(raw)
        if isinstance(made, bytes):
            return CheckResponse.FromString(made)
        waiting = asyncio.ensure_future(made)
        while not waiting.done():
            await asyncio.sleep(0)
            self.source.answer_all()
        return CheckResponse.FromString(await waiting)
