"""Verification of the audit trail: rows in, findings out.

Older than the last checkpoint, every deletion, change, insertion and reordering is found:

- The checkpoint holds the hash of all rows before it, and its mark cannot be forged.
- The numbers of changes have no gaps. So the end of the trail cannot be removed while the number
  of the last change is known from elsewhere.

After the last checkpoint a changed or invented row is found by its mark, and a removed one by its
number. Two rows about different keys could have changed places there. A row from before marks
existed is protected from the first checkpoint on.

A deletion of a key removes its entries, and its own entry has their hashes.

One false trail is not found from the store alone: an older state of the whole store, put back. A
copy that `authz audit ship` made elsewhere shows it.
"""

from collections.abc import Callable, Mapping
from typing import Final

from authz.core.trail import checkpoints
from authz.core.trail.checkpoints import Chain
from authz.core.trail.gaps import Gaps
from authz.core.trail.report import MAX_FINDINGS, Finding, Problem, Report
from authz.core.trail.rows import Proof, Row, TrailKeys, position

LATE: Final = -1  # in place of the version of a key whose last entry has no number of its own


class Verification:
    """Checks rows in the order of the trail.

    removed: ids and hashes of the rows that deletions removed, from anywhere in the trail: see
    Removals. A hash stands in the chain where its row stood. trimmed_before: changes below this
    number were removed on purpose. unmarked_until: an older version wrote entries up to this
    number. holds: whether the entries of a kid belong here; None: those of each one.
    """

    def __init__(
        self,
        keys: TrailKeys,
        *,
        removed: Mapping[str, bytes] | None = None,
        trimmed_before: int = 0,
        unmarked_until: int = 0,
        holds: Callable[[str], bool] | None = None,
    ) -> None:
        self._holds = holds
        self._keys = keys
        self._begin = max(trimmed_before, 1)
        self.removed = dict(removed or {})
        """Ids and hashes of removed rows, as they were given."""
        order = sorted(((position(row_id), row_id) for row_id in self.removed), reverse=True)
        self._absent = [(place, row_id) for place, row_id in order if place[0] >= self._begin]
        self._absent_numbers = {number for (number, _), _ in self._absent}
        self._unmarked_until = unmarked_until
        self._findings: list[Finding] = []
        self._more = 0
        self._chain = Chain()
        self._place = (self._begin - 1, 0)
        self._first = 0  # number of the first row
        self._gaps = Gaps()
        self._late = 0  # entries whose number is not known
        self._versions: dict[str, int] = {}
        self._marked = False  # a row with a mark was seen
        self._old = (0, 0)  # rows without a mark before that, and the highest number
        self._rows = self._checkpoints = 0
        self._sealed = ("", 0)
        self._unsealed = (0, 0)

    def feed(self, row: Row) -> None:
        """Check the next row. `finish` has the findings."""
        self._rows += 1
        try:
            number, part = position(row.id)
        except ValueError:
            self._find(Problem.UNREADABLE, row.id[:40], "this is not the id of a row")
            return
        self._pass_removed((number, part))
        self._check_place(row.id, number, part)
        proof = self._check_mark(row, number)
        self._unsealed = (self._unsealed[0] + 1, self._unsealed[1] or _time(row.fields))
        if row.kid and self._holds and not self._holds(row.kid):
            self._find(Problem.MISPLACED, row.id, "this row is about a key of another partition")
        if row.kid:
            self._check_entry(row, number, part)
        elif proof is Proof.VALID:
            self._check_own(row, number)
        self._chain.extend(row)

    def finish(self, highest: int = 0, last_id: str = "", sealed_since: int = 0) -> Report:
        """Return the report. Call it once, after the last row.

        highest: number of the last change, as known from elsewhere; 0: unknown. last_id: the last
        id that the store gave out; empty: unknown. Both MUST be read before the rows. sealed_since:
        rows that are older than this, in ms since the epoch, have to be sealed; 0: none has to be.
        """
        while self._absent:
            self._pass_one()
        number, part = self._place
        self._gaps.fill_first(self._late)
        for first, last in self._gaps:
            kind = Problem.TRIMMED if first == self._begin else Problem.MISSING
            self._find(kind, str(first), f"{_changes(first, last)} no entry")
        if highest > number:
            text = f"{_changes(number + 1, highest)} no entry, at the end"
            self._find(Problem.MISSING, str(number + 1), text)
        elif last_id and position(last_id) > (number, part):
            self._find(Problem.MISSING, last_id, "rows at the end, up to this one, are not there")
        unsealed, since = self._unsealed
        if unsealed and since < sealed_since:
            self._find(Problem.UNSEALED, self._sealed[0], f"{unsealed} rows after this one")
        return Report(
            findings=tuple(self._findings),
            more=self._more,
            rows=self._rows,
            last=self._chain.last,
            checkpoints=self._checkpoints,
            sealed_until=self._sealed[0],
            sealed_at=self._sealed[1],
            unsealed=unsealed,
            unsealed_since=since,
            unmarked=self._old[0],
            unmarked_until=self._old[1],
        )

    def _pass_removed(self, place: tuple[int, int]) -> None:
        """Put the hashes of the removed rows before a place into the chain, and check their places.

        A removed row at this very place is still in the store: it does not count as removed.
        """
        while self._absent and self._absent[-1][0] < place:
            self._pass_one()
        if self._absent and self._absent[-1][0] == place:  # it is still there
            self._absent.pop()

    def _pass_one(self) -> None:
        place, row_id = self._absent.pop()
        self._check_place(row_id, *place)
        self._chain.extend_by(row_id, self.removed[row_id])

    def _check_place(self, row_id: str, number: int, part: int) -> None:
        before, last_part = self._place
        is_first, self._first = not self._first, self._first or number
        if (number, part) <= (before, last_part) and not is_first:
            self._find(Problem.MISPLACED, row_id, "it stands after a row with a higher id")
            return
        if number > before:
            self._gaps.add(before + 1, number - (part == 0))
        expected = last_part + 1 if number == before else part and 1
        if part != expected:
            text = f"the row {number}-{expected} before it is not there"
            self._find(Problem.MISSING, row_id, text)
        self._place = (number, part)

    def _check_mark(self, row: Row, number: int) -> Proof:
        proof = self._keys.check(row.fields)
        if proof is Proof.VALID:
            self._marked = True
        elif proof is Proof.WRONG:
            self._find(Problem.ALTERED, row.id, "its mark is wrong: it was changed or forged")
        elif proof is Proof.UNKNOWN:
            self._find(Problem.UNREADABLE, row.id, "the pepper of its mark is not in keys.peppers")
        elif not row.kid:
            self._find(Problem.ALTERED, row.id, "a row about the trail has no mark")
        elif self._marked and number > self._unmarked_until:
            text = "no mark: an older version of authz wrote it, or somebody put it in"
            self._find(Problem.UNMARKED, row.id, text)
        else:
            self._old = (self._old[0] + 1, max(number, self._old[1]))
        return proof

    def _check_entry(self, row: Row, number: int, part: int) -> None:
        base = row.fields.get("base", "")
        if not (base.isascii() and base.isdecimal()) or len(base) > 15:  # noqa: PLR2004
            self._find(Problem.UNREADABLE, row.id, "its base version is no number")
            return
        before, after = int(base), number
        if part:  # it was written late, so its own number is one of the gaps
            if not self._gaps.has_after(before):
                self._find(Problem.MISPLACED, row.id, "no change lacks an entry that it could be")
            self._late += 1
            after = LATE
        known = self._versions.get(row.kid)
        if known == LATE and before in self._gaps:
            self._gaps.fill(before, before)
            self._late -= 1
        elif not self._follows(before, known):
            text = f"the change {before} of its key, on which it is based, is not the one before it"
            self._find(Problem.MISPLACED, row.id, text)
        self._versions[row.kid] = after

    def _follows(self, base: int, known: int | None) -> bool:
        """Return whether an entry may have this base, after the last known version of its key."""
        if known is None:
            return base < max(self._first, self._begin) or self._is_absent(base)
        return base == known or self._is_absent(base)

    def _is_absent(self, number: int) -> bool:
        return number in self._gaps or number in self._absent_numbers

    def _check_own(self, row: Row, number: int) -> None:
        """Compare a checkpoint with the chain, or fill the gaps that a restore made.

        Rows of other kinds are ignored. The mark of `row` is valid.
        """
        if (last := checkpoints.restored_from(row)) is not None:
            self._gaps.fill(last + 1, number - 1)
        if not checkpoints.is_checkpoint(row):
            return
        found = checkpoints.parse(row)
        if found is None:
            self._find(Problem.UNREADABLE, row.id, "a newer version of authz made this checkpoint")
            return
        is_trimmed = not self._checkpoints and self._begins_before(found.first)
        if not is_trimmed and not found.matches(self._chain):
            after = self._sealed[0] or "the beginning"
            text = f"rows between {after} and this checkpoint are not those that it sealed"
            self._find(Problem.BROKEN, row.id, text)
        if found.went_back:
            text = f"when it was made, the checkpoint {found.went_back} had vanished"
            self._find(Problem.WENT_BACK, row.id, text)
        self._chain = Chain(found.first, found.last, found.count, found.digest)
        self._checkpoints += 1
        self._sealed = (row.id, found.at)
        self._unsealed = (0, 0)

    def _begins_before(self, first: str) -> bool:
        """Return whether a sealed trail that begins with the id `first` began before these rows.

        False without rows, and if `first` is no id.
        """
        try:
            return bool(self._chain.first) and position(first) < position(self._chain.first)
        except ValueError:
            return False

    def _find(self, problem: Problem, where: str, text: str) -> None:
        if len(self._findings) < MAX_FINDINGS:
            self._findings.append(Finding(problem, where, text))
        else:
            self._more += 1


class Removals:
    """Collects what deletions removed, from all rows of a trail."""

    def __init__(self, keys: TrailKeys) -> None:
        self._keys = keys
        self.found: dict[str, bytes] = {}
        """Ids and hashes of the removed rows."""

    def feed(self, row: Row) -> None:
        """Add the removed rows that a row names to `found`, if its mark is valid."""
        named = checkpoints.removed_by(row)
        if named and self._keys.check(row.fields) is Proof.VALID:
            self.found |= named


def _changes(first: int, last: int) -> str:
    return f"change {first} has" if first == last else f"the changes {first} to {last} have"


def _time(fields: Mapping[str, str]) -> int:
    text = fields.get("at", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 16 else 0  # noqa: PLR2004
