"""Usage in memory: the same promises as the store's, for tests of the meter."""

from authz.core.usage.billing.differences import KeyHours
from authz.core.usage.commit import KEPT_DENIALS, Sight
from authz.core.usage.completeness import BLOCK, ProcessSeen
from authz.core.usage.counts import Counts, Level, added
from authz.core.usage.ports import Closed, Counted, DayFacts, KeyFacts, Known, TooOld

LATE_MS = 3_600_000
KEPT_MS = 7_200_000  # for which a digest is known


class MemoryUsage:
    """A UsageStore, a UsageReader and a DayReader. clock: its `wall_ms` is the store's time."""

    def __init__(self, clock):
        self.clock = clock
        self.digests = {}
        self.rows = {}
        self.models_of = {}
        self.denials = {}
        self.networks = {}
        self.erased = set()
        self.gone = set()
        self.latest = {}
        self.first_in_minute = {}
        self.secrets = {}
        self.owners = {}
        self.latest_denials = {}
        self.blocks = {}
        self.highest = {}
        self.seen = {}
        self.extra = {}
        self.repeated = {}
        self.all = {"entries": 0, "misdated": 0, "repeated": 0}

    def now_ms(self):
        """Implement UsageStore.now_ms."""
        return self.clock.wall_ms()

    async def commit(self, commit, digests, arrived_ms):
        """Implement UsageStore.commit."""
        now = self.clock.wall_ms()
        if now - arrived_ms > LATE_MS:
            return TooOld()
        known = {d for d in digests if now - self.digests.get(d, -KEPT_MS) < KEPT_MS}
        if known:
            return Known(frozenset(known))
        if commit.until_ms and now >= commit.until_ms:
            return Closed()
        self.digests |= dict.fromkeys(digests, now)
        full = 0
        for (minute, route, code), row in commit.totals.items():
            full += self._add("", minute, (route, code), row)
        for case, row in commit.models.items():
            full += added(self.models_of.setdefault(case, []), row)
        for (minute, reason), number in commit.denials.items():
            self._count(self.denials, ("", minute // 1440, reason), number)
        for kid, usage in commit.keys.items():
            full += self._add_key(kid, usage)
        for process in {*commit.seen, *commit.repeated}:
            self._add_process(process, commit)
        for name, number in (
            ("entries", commit.entries),
            ("misdated", commit.misdated),
            ("repeated", sum(commit.repeated.values())),
        ):
            self._count(self.all, name, number)
        return Counted(full)

    async def counts(self, kid, level, slots):
        """Implement UsageReader.counts."""
        return {
            (slot, name[0] if level is Level.HOUR else ""): Counts(tuple(row))
            for (whose, where, slot, name), row in self.rows.items()
            if (whose, where) == (kid, level) and slot in slots
        }

    async def totals(self, level, slots):
        """Implement UsageReader.totals."""
        return {
            (slot, *name): Counts(tuple(row))
            for (whose, where, slot, name), row in self.rows.items()
            if (whose, where) == ("", level) and slot in slots
        }

    async def facts(self, kid):
        """Implement UsageReader.facts."""
        secrets = {secret: s for (whose, secret), s in self.secrets.items() if whose == kid}
        denials = tuple(self.latest_denials.get(kid, ()))
        return KeyFacts(self.latest.get(kid), secrets, self.owners.get(kid, {}), denials)

    async def days(self, kid, days):
        """Implement DayReader.days."""
        found = {}
        for day in days:
            denials = {r: n for (k, d, r), n in self.denials.items() if (k, d) == (kid, day)}
            networks = len(self.networks.get((kid, day), ()))
            if denials or networks:
                found[day] = DayFacts(denials, networks)
        return found

    async def models(self, kid, days):
        """Implement DayReader.models."""
        return {
            (day, model): Counts(tuple(row))
            for (whose, day, model), row in self.models_of.items()
            if whose == kid and day in days
        }

    async def processes(self):
        """Return the processes whose entries came."""
        return [
            ProcessSeen(
                process,
                seen=self.seen.get(process, 0),
                highest=self.highest.get(process, 0),
                extra=self.extra.get(process, 0),
                repeated=self.repeated.get(process, 0),
                at=self.clock.wall_ms(),
                blocks={
                    block: number
                    for block, number in self.blocks.get(process, {}).items()
                    if number < BLOCK - (block == 0)
                },
            )
            for process in {**self.seen, **self.repeated}
        ]

    async def sums(self):
        """Return the sums over all time."""
        return {name: number for name, number in self.all.items() if number}

    def _add_key(self, kid, usage):
        full = 0
        for (minute, route), row in usage.rows.items():
            full += self._add(kid, minute, (route,), row)
        for (minute, reason), number in usage.denials.items():
            self._count(self.denials, (kid, minute // 1440, reason), number)
        is_gone = kid in self.gone
        for hour, networks in usage.networks.items():
            if networks and not is_gone:
                self.networks.setdefault((kid, hour // 24), set()).update(networks)
        if usage.latest and usage.latest.at // 60 > self.first_in_minute.get(kid, 0) // 60:
            self.first_in_minute[kid] = usage.latest.at
        if usage.latest and usage.latest.at >= self.latest.get(kid, usage.latest).at:
            self.latest[kid] = Sight(usage.latest.at, "", "") if is_gone else usage.latest
        for secret, (sight, number) in usage.secrets.items():
            before, requests = self.secrets.get((kid, secret), (Sight(0, "", ""), 0))
            newest = sight if sight.at >= before.at else before
            newest = Sight(newest.at, "", "") if is_gone else newest
            self.secrets[kid, secret] = (newest, requests + number)
        if usage.latest_denials:
            self.latest_denials[kid] = self._newest_denials(kid, usage.latest_denials)
        owners = self.owners.setdefault(kid, {})
        hour = usage.about_minute // 60
        newest = max(owners, default=0)
        if usage.about and hour >= newest and owners.get(newest) != usage.about:
            owners[hour] = usage.about
        return full

    def _newest_denials(self, kid, found):
        cases = {}
        for denial in sorted([*found, *self.latest_denials.get(kid, ())], reverse=True):
            case = denial.at // 60, denial.reason, denial.route, denial.code
            if case in cases:
                requests = cases[case].requests + denial.requests
                denial = cases[case]._replace(requests=requests)  # noqa: PLW2901  the sum
            cases[case] = denial._replace(network="") if kid in self.gone else denial
        return list(cases.values())[:KEPT_DENIALS]

    def _add(self, whose, minute, name, row):
        full = 0
        for level in Level:
            kept = (name if level is Level.HOUR else ("",)) if whose else name
            where = (whose, level, level.slot(minute), kept)
            full += added(self.rows.setdefault(where, [0] * 12), row)
        return full

    def _add_process(self, process, commit):
        blocks = self.blocks.setdefault(process, {})
        for block, number in commit.seen.get(process, {}).items():
            for gap in range(max(blocks, default=-1) + 1, block + 1):
                blocks[gap] = 0
            whole = BLOCK - (block == 0)
            if blocks[block] >= whole:
                self._count(self.extra, process, number)
            else:
                blocks[block] += number
            self._count(self.seen, process, number)
        self._count(self.repeated, process, commit.repeated.get(process, 0))
        highest = commit.highest.get(process, 0)
        self.highest[process] = max(self.highest.get(process, 0), highest)

    @staticmethod
    def _count(numbers, name, number):
        numbers[name] = numbers.get(name, 0) + number


class MemoryUsageEraser:
    """A UsageEraser over usage in memory."""

    def __init__(self, usage):
        self.usage = usage

    async def erase(self, kid, today, *, permanently=False):
        """Implement UsageEraser.erase."""
        usage, erased = self.usage, 0
        if permanently:
            usage.gone.add(kid)
        if kid in usage.latest:
            usage.latest[kid] = Sight(usage.latest[kid].at, "", "")
        for name, (sight, number) in usage.secrets.items():
            if name[0] == kid and (sight.network, sight.agent) != ("", ""):
                usage.secrets[name] = Sight(sight.at, "", ""), number
                erased += 1
        if any(denial.network for denial in usage.latest_denials.get(kid, ())):
            found = usage.latest_denials[kid]
            usage.latest_denials[kid] = [denial._replace(network="") for denial in found]
            erased += 1
        for name in [name for name in usage.networks if name[0] == kid and usage.networks[name]]:
            if today - 4 <= name[1] <= today + 1:
                usage.networks[name] = {""}  # the number of a day stays
                erased += name not in usage.erased
                usage.erased.add(name)
        return erased

    async def keep_again(self, kid):
        """Implement UsageEraser.keep_again."""
        self.usage.gone.discard(kid)


class MemoryClosedHours:
    """A ClosedHours over usage in memory."""

    def __init__(self, usage):
        self.usage = usage

    async def now_ms(self):
        """Implement ClosedHours.now_ms."""
        return self.usage.clock.wall_ms()

    async def read(self, kids, hours):
        """Implement ClosedHours.read."""
        found = []
        for kid in kids:
            counts = await self.usage.counts(kid, Level.HOUR, hours)
            wanted = {hour // Level.HOUR.window for hour in hours}
            windows = frozenset(
                slot // Level.HOUR.window
                for whose, level, slot, _ in self.usage.rows
                if (whose, level) == (kid, Level.HOUR) and slot // Level.HOUR.window in wanted
            )
            owners = self.usage.owners.get(kid, {})
            found.append(KeyHours(kid, counts, windows, owners))
        return found


class MemoryUsageIndex:
    """A UsageIndex and a GateProcesses over usage in memory. given: what issued() returns."""

    def __init__(self, usage, given=None):
        self.usage = usage
        self.given = given or {}

    async def latest(self, kids):
        """Implement UsageIndex.latest."""
        return [self.usage.first_in_minute.get(kid) for kid in kids]

    async def used_since(self, since):
        """Implement UsageIndex.used_since."""
        kids = [kid for kid, sight in self.usage.latest.items() if sight.at // 60 >= since // 60]
        if kids:
            yield kids

    async def many(self, kids, level, slots):
        """Implement UsageIndex.many."""
        return [await self.usage.counts(kid, level, slots) for kid in kids]

    async def issued(self):
        """Implement GateProcesses.issued."""
        return self.given

    async def processes(self):
        """Implement GateProcesses.processes."""
        return await self.usage.processes()


class MemoryRanking:
    """A MonthRanking over usage in memory. since: the first month that is ranked."""

    def __init__(self, usage, since=0):
        self.usage = usage
        self.since = since

    async def ranked(self, month, by):
        """Implement MonthRanking.ranked."""
        if month < self.since:
            return None
        sums = {
            kid: Counts(tuple(row))
            for (kid, level, slot, _), row in self.usage.rows.items()
            if (level, slot) == (Level.MONTH, month) and kid
        }
        return sorted(sums, key=lambda kid: -by.number_of(sums[kid]))[:1000]
