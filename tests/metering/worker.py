"""A meter process that counts wrongly: `python -m tests.metering.worker MUTANT ARGUMENTS...`.

without-digest: it adds every commit. claims-first: it writes the digests in a step of their own.
The arguments are those of `authz`.
"""

import sys

from authz.cli import main as cli
from authz.core.usage.commit import Commit
from authz.core.usage.ports import Counted
from authz.storage.usage.usage_link import UsageLink
from authz.wiring import meter


class WithoutDigest(UsageLink):
    """A mutant: it adds every commit."""

    async def commit(self, commit, digests, arrived_ms):
        """Add the commit, whatever its digests."""
        return await super().commit(commit, [], arrived_ms)


class ClaimsFirst(UsageLink):
    """A mutant: it writes the digests in a step of their own, before the counts."""

    async def commit(self, commit, digests, arrived_ms):
        """Claim the digests; then add the counts, if no fault comes between."""
        reply = await super().commit(Commit(), digests, arrived_ms)
        if not isinstance(reply, Counted):
            return reply
        return await super().commit(commit, [], arrived_ms)


MUTANTS = {"without-digest": WithoutDigest, "claims-first": ClaimsFirst}

if __name__ == "__main__":
    mutant = sys.argv.pop(1)
    meter.UsageLink = MUTANTS[mutant]
    cli.main()
