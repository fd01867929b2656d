"""A checker with one imported key."""

import asyncio
import inspect

from authz.core.records import Secret
from authz.flows.check import Checker
from authz.flows.imported import ImportedKeys
from tests.support.fakes import (
    KID,
    NOW,
    MemoryAliasSource,
    MemoryDigests,
    make_keyring,
    make_record,
    make_request,
)
from tests.support.flows.rigs import FOREVER, CacheRig, Vouched

RING = make_keyring("ak", "1", "2")
FOREIGN = "sk-0123456789abcdef"
NEWEST, OLDER = (digest for _, digest in RING.parse_imported(FOREIGN).digests())
RECORD = make_record(secrets=(Secret("1", NEWEST, "2", NOW),))

DEFAULTS = {
    "rate": 200,
    "negative_ttl": 5.0,
    "max_entries": 100,
    "max_negatives": 100,
    "deadline": 30.0,
}


class ImportedRig(CacheRig):
    """A checker over a cache and aliases, with one imported key that both sources know."""

    def __init__(self, *, grace=0.0, **settings):
        super().__init__(grace=grace)
        self.aliases = MemoryAliasSource()
        self.digests = MemoryDigests()
        self.aliases.kids[NEWEST] = KID
        self.source.records[KID] = RECORD
        self.keys = ImportedKeys(
            *(self.aliases, self.cache, self.clock, self.probe),
            known=self.digests,
            **DEFAULTS | settings,
        )
        self.keys.trust(FOREVER)
        self.checker = Checker(self.cache, Vouched(), self.clock, self.probe, self.keys)

    parse = staticmethod(RING.parse_imported)

    def begin(self, text=FOREIGN, address="203.0.113.7"):
        """Return the decision, or a task that waits for a source."""
        credential = RING.parse_imported(text)
        made = self.checker.check(make_request(credential=credential, client_address=address))
        return asyncio.ensure_future(made) if inspect.isawaitable(made) else made

    async def asked(self):
        """Wait until the source of aliases is asked."""
        while not self.aliases.pending:
            await asyncio.sleep(0)

    async def decide(self, text=FOREIGN, address="203.0.113.7"):
        """Return the decision; both sources reply at once."""
        made = self.begin(text, address)
        while isinstance(made, asyncio.Future):
            await asyncio.sleep(0)
            self.aliases.answer_all()
            self.source.answer_all()
            if made.done():
                return await made
        return made
