"""Tally: adds up entries. `add` is the meter's hot path.

Rules:
1. A request counts in the minute in which it ended, by Envoy's clock. Its log entry leaves then, so
   that minute is near the store's time whatever the length of the request.
2. If it is not near, Envoy's clock is off. Then the entry counts as seen and as misdated, and is
   attributed to no key.
3. Only an entry of the end counts. One of a request that runs shows that its key is in use.
4. An entry that counts also settles its budgets. The estimate of a misdated one stays.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

from authz.core.usage.callers import agent_family, last_words, method, network
from authz.core.usage.commit import Commit, Denial, KeyUsage, Sight
from authz.core.usage.completeness import BLOCK
from authz.core.usage.counts import (
    FIELDS,
    MINUTE_MS,
    MINUTES_PER_DAY,
    MINUTES_PER_HOUR,
    OUTCOMES,
    SLOW_MS,
    Field,
    added,
    trimmed,
)
from authz.core.usage.entry import (
    AGENT,
    COUNT,
    COUNT_END,
    END,
    LARGEST,
    PROCESS_END,
    PROCESS_START,
    UNKNOWN,
    Cause,
    Entry,
    EntryReader,
    Identity,
    Status,
)
from authz.core.usage.outcome import Outcome
from authz.core.usage.token_use import TokenUse, add_settlements

FAST_MS: Final = SLOW_MS[0][0]
LAST_WORD: Final = 8  # of those that are split; the rest is one
AFTER_END: Final = len(END)
PAST_MS: Final = 2 * 3_600_000  # by which an entry may have ended before the store's time
FUTURE_MS: Final = 300_000  # or after it: clocks differ
MAX_CALLERS: Final = 20_000  # addresses and user agents whose network and family are remembered

# A row: the sums of the requests of one identity, status and minute, and the latest of them.
_N, _IN, _OUT, _MS, _SLOW, _LATEST, _ADDRESS, _REST, _ADDRESSES, _USE = range(10)
_Row = list[Any]

_network = lru_cache(MAX_CALLERS)(network)
_agent_family = lru_cache(MAX_CALLERS)(agent_family)


class Clocks(NamedTuple):
    """The minutes in which a request may have ended, since the epoch, both included."""

    earliest: int
    latest: int

    @classmethod
    def near(cls, store_ms: int, past_ms: int, future_ms: int) -> "Clocks":
        """Return the minutes from `past_ms` before to `future_ms` after the store's time.

        All in ms, the store's time since the epoch. The minutes at both ends count in full.
        """
        return cls((store_ms - past_ms) // MINUTE_MS, (store_ms + future_ms) // MINUTE_MS)


class _Source:
    """A process of the gate, and the version of its lines.

    identities: those of the EntryReader for this version. blocks: by number (charge id // 4096),
    how many entries came and the highest charge id.
    """

    __slots__ = ("blocks", "identities")

    def __init__(self, identities: Mapping[bytes, Identity]) -> None:
        self.identities = identities
        self.blocks: defaultdict[int, list[int]] = defaultdict(lambda: [0, 0])


class Tally:
    """The sums of some batches.

    running: how many entries of requests that still run were added. refused: how many entries were
    refused, by cause.
    """

    def __init__(self, reader: EntryReader) -> None:
        self._reader = reader
        self._rows: dict[tuple[Identity, Status, int], _Row] = {}
        self._running: dict[Identity, Entry] = {}
        self._sources: dict[bytes, _Source] = {}
        self.running = 0
        self.refused: dict[Cause, int] = {}

    @property
    def size(self) -> int:
        """How many rows there are, not entries. It bounds the store's time for the commit."""
        return len(self._rows) + len(self._running)

    def add(self, lines: Iterable[bytes]) -> None:
        """Add the entries of a batch, lines without their ends. Count bad ones in `refused`."""
        rows, sources, statuses = self._rows, self._sources, self._reader.statuses
        for line in lines:
            end = line.find(END)
            words = line[end + AFTER_END :].split(b" ", LAST_WORD)
            try:
                source = sources[line[:PROCESS_END]]
                identity = source.identities[line[COUNT_END:end]]
                code, grpc, flags, duration, received, sent, address, started, rest = words
                status = statuses[code, grpc, flags]
                milliseconds, bytes_in, bytes_out = int(duration), int(received), int(sent)
                started_at = int(started)
                count = int(line[COUNT], 16)
            except (KeyError, ValueError):  # ValueError: also too few words
                self._add_slowly(line)
                continue
            if not 0 <= milliseconds | bytes_in | bytes_out | started_at <= LARGEST:
                self._add_slowly(line)
                continue
            ended = started_at + milliseconds
            row = rows.get((identity, status, ended // MINUTE_MS))
            if row is None:
                row = self._new_row(identity, status, ended // MINUTE_MS)
            row[_N] += 1
            row[_IN] += bytes_in
            row[_OUT] += bytes_out
            row[_MS] += milliseconds
            if milliseconds > FAST_MS:
                row[_SLOW].append(milliseconds)
            if ended > row[_LATEST]:
                row[_LATEST], row[_ADDRESS], row[_REST] = ended, address, rest
            row[_ADDRESSES].add(address)
            if identity.settles:
                row[_USE].add(rest, bytes_out, failed=status.used_nothing)
            if count:  # 0: an answer that is not counted
                block = source.blocks[count // BLOCK]
                block[0] += 1
                if count > block[1]:  # noqa: PLR1730  a call of max() costs too much here
                    block[1] = count

    def _new_row(self, identity: Identity, status: Status, minute: int) -> _Row:
        use = None
        if identity.settles:
            use = TokenUse(identity.terms, identity.taken, once=bool(identity.once))
        row: _Row = [0, 0, 0, 0, [], 0, b"", b"", set(), use]
        self._rows[identity, status, minute] = row
        return row

    def _add_slowly(self, line: bytes) -> None:
        """Add an entry of which a part is new, or that runs; or count it as refused."""
        entry = self._reader.read(line)
        if isinstance(entry, Cause):
            self.refused[entry] = self.refused.get(entry, 0) + 1
        elif entry.is_end:
            name = line[:PROCESS_END]
            if name not in self._sources:
                self._sources[name] = _Source(self._reader.identities[entry.identity.version])
            self.add((line,))  # every part of it is known now
        else:
            self.running += 1
            known = self._running.get(entry.identity)
            if known is None or known.ended_at <= entry.ended_at:
                self._running[entry.identity] = entry

    def numbers(self) -> dict[str, int]:
        """Return the number of ended requests by process of the gate, misdated ones too.

        Requests whose charge id is 0 are left out.
        """
        found: dict[str, int] = {}
        for name, source in self._sources.items():
            process = name[PROCESS_START:].decode("ascii")
            number = sum(number for number, _ in source.blocks.values())
            found[process] = found.get(process, 0) + number
        return found

    def commit(self, clocks: Clocks) -> Commit:
        """Return the sums of the batches, and keep them.

        A request that ended outside of `clocks` is misdated. One that still runs only adds to the
        latest use of its key.
        """
        commit = Commit()
        for (identity, status, minute), row in self._rows.items():
            if clocks.earliest <= minute <= clocks.latest:
                _add_row(commit, identity, status, minute, row)
            else:
                commit.misdated += row[_N]
        commit.entries = sum(row[_N] for row in self._rows.values())
        for identity, entry in self._running.items():
            minute = entry.ended_at // MINUTE_MS
            if identity.kid and clocks.earliest <= minute <= clocks.latest:
                sight = _sight(identity, entry.ended_at, entry.address, entry.rest)
                _add_sight(_key_usage(commit, identity, minute), identity, sight, 0)
        for name, source in self._sources.items():
            process = name[PROCESS_START:].decode("ascii")
            seen = commit.seen.setdefault(process, {})
            for block, (number, highest) in source.blocks.items():
                seen[block] = seen.get(block, 0) + number
                commit.highest[process] = max(commit.highest.get(process, 0), highest)
        return commit


def _add_row(commit: Commit, identity: Identity, status: Status, minute: int, row: _Row) -> None:
    numbers = _numbers(identity, status, row)
    total = commit.totals.setdefault((minute, identity.route, status.code), [])
    added(total, numbers)
    is_denied = status.outcome is Outcome.DENIED
    if not identity.kid:
        if is_denied:
            case = (minute, identity.reason)
            commit.denials[case] = commit.denials.get(case, 0) + row[_N]
        return
    usage = _key_usage(commit, identity, minute)
    added(usage.rows.setdefault((minute, identity.route), []), numbers)
    if is_denied:
        case = (minute, identity.reason)
        usage.denials[case] = usage.denials.get(case, 0) + row[_N]
        usage.latest_denials.append(_denial(identity, status, row))
    sight = _sight(identity, row[_LATEST], row[_ADDRESS], row[_REST])
    _add_sight(usage, identity, sight, row[_N])
    if row[_USE] is not None:
        add_settlements(commit, identity, row[_USE])
    if identity.model:
        for kid in ("", identity.kid):
            case_of_model = (kid, minute // MINUTES_PER_DAY, identity.model)
            added(commit.models.setdefault(case_of_model, []), numbers)
    hour = minute // MINUTES_PER_HOUR
    found = usage.networks.setdefault(hour, set())
    found.update(filter(None, map(_network, row[_ADDRESSES])))
    usage.agents.setdefault(hour, set()).add(sight.agent)


def _numbers(identity: Identity, status: Status, row: _Row) -> list[int]:
    """Return the counts of a row by the positions of Field; zeros at the end may be missing."""
    number, usual = row[_N], 0 if status.outcome is Outcome.DENIED else 1
    units = number * (identity.charged - usual) if identity.kid else 0
    if status.outcome is Outcome.OK and not (units or row[_SLOW] or row[_USE]):  # nearly every row
        return [number, row[_IN], row[_OUT], row[_MS]]
    numbers = [0] * FIELDS
    numbers[OUTCOMES[status.outcome]] = number
    numbers[Field.BYTES_IN], numbers[Field.BYTES_OUT] = row[_IN], row[_OUT]
    numbers[Field.MILLISECONDS] = row[_MS]
    for limit, field in SLOW_MS:
        numbers[field] = sum(each > limit for each in row[_SLOW])
    numbers[Field.UNITS] = units
    if (use := row[_USE]) is not None:
        numbers[Field.INPUT_TOKENS : Field.REASONING_TOKENS + 1] = use.tokens
        numbers[Field.MICRO_USD], numbers[Field.ESTIMATED] = use.micro_dollars, use.estimated
    return trimmed(numbers)


def _key_usage(commit: Commit, identity: Identity, minute: int) -> KeyUsage:
    usage = commit.keys.get(identity.kid)
    if usage is None:
        usage = commit.keys[identity.kid] = KeyUsage()
    if minute >= usage.about_minute and identity.about != UNKNOWN:
        usage.about, usage.about_minute = identity.about, minute
    return usage


def _sight(identity: Identity, ended_at: int, address: bytes, rest: bytes) -> Sight:
    agent = _agent_family(last_words(rest, AGENT[identity.version])[-1])
    return Sight(ended_at // 1000, _network(address), agent)


def _denial(identity: Identity, status: Status, row: _Row) -> Denial:
    return Denial(
        at=row[_LATEST] // 1000,
        reason=identity.reason,
        route=identity.route,
        code=status.code,
        network=_network(row[_ADDRESS]),
        method=method(last_words(row[_REST], AGENT[identity.version])[-3]),
        requests=row[_N],
    )


def _add_sight(usage: KeyUsage, identity: Identity, sight: Sight, number: int) -> None:
    """Keep the latest use of the key and of its secret. Add `number` to the secret's requests."""
    if usage.latest is None or usage.latest.at <= sight.at:
        usage.latest = sight
    if identity.secret:
        known, before = usage.secrets.get(identity.secret, (sight, 0))
        newest = known if known.at > sight.at else sight
        usage.secrets[identity.secret] = (newest, before + number)
