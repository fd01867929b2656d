"""The real script on a real Valkey, by a clock of the test's own."""

from authz.storage.limits.spend_script import SPEND, arguments, spend_reply

CLOCK = "call('TIME')"
CENTURY_MS = 100 * 366 * 86_400_000


def timed_script():
    """The script, reading the time from two keys. Production code has no such switch."""
    assert SPEND.count(CLOCK) == 1
    return SPEND.replace(CLOCK, "call('MGET', 'test:seconds', 'test:microseconds')")


class TimedStore:
    """Runs the script at the time it is told. What it writes does not expire by the real time."""

    def __init__(self, client, *, persistent=True):
        self.client = client
        self.persistent = persistent
        self.sha = client.script_load(timed_script())

    def set_clock(self, now):
        """`now` in microseconds."""
        self.client.mset({"test:seconds": now // 10**6, "test:microseconds": now % 10**6})

    def spend(self, charge, ask, now, holder=b"someone"):
        """Implement SpendStore.spend, and return the reply."""
        self.set_clock(now)
        count, *words = arguments(charge, ask, holder)
        # In one step: a hash that lives for a second may be gone before a command of its own.
        step = self.client.pipeline(transaction=True)
        step.evalsha(self.sha, int(count), *words)
        for name in words[: int(count)] if self.persistent else ():
            step.pexpire(name, CENTURY_MS)  # as in production, a hash always has a time to live
        reply = step.execute(raise_on_error=False)[0]
        if isinstance(reply, Exception):
            raise reply
        return spend_reply(charge, reply, ask.once)
