"""The report of an import: counts, refusals, and with --json the outcome of each entry."""

import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from authz.cli.invocation import write_stderr
from authz.core.errors import BadInput, Unavailable
from authz.flows.importing import Clash, Outcome, Wanted

MAX_SHOWN: Final = 20

IMPORTED, ALREADY, CONFLICT, REFUSED = "imported", "already_there", "conflict", "refused"


@dataclass(slots=True)
class Report:
    """Counts of the entries so far, and their refusals.

    Each refusal and conflict goes to the file `rejects`, if given. `show_refusals` prints the first
    MAX_SHOWN (20). dry_run: nothing is imported. keeps_rows: remember the outcome of each entry.
    unit: the word for an entry. never_expire: number of imported keys without an end.
    """

    dry_run: bool
    rejects: io.FileIO | None = None
    keeps_rows: bool = False
    unit: str = "line"
    counts: Counter[str] = field(default_factory=Counter)
    never_expire: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list, repr=False)
    _shown: list[str] = field(default_factory=list)
    _unshown: int = 0
    _seen: dict[bytes, int] = field(default_factory=dict, repr=False)  # digest -> entry

    def add(self, batch: Sequence[tuple[int, Wanted]], outcomes: Sequence[Outcome]) -> None:
        """Count the outcomes of a batch. A BadInput outcome counts as a refused entry.

        Raises Unavailable if the rejects file cannot be written.
        """
        for (number, wanted), outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, BadInput):
                self.refuse(number, outcome)
            elif isinstance(outcome, Clash):
                cause = BadInput(outcome.field, outcome.problem)
                self._reject(number, CONFLICT, cause, {"kid": outcome.kid})
            else:
                word = ALREADY if outcome.already else IMPORTED
                self.counts[word] += 1
                self.never_expire += not outcome.already and _has_no_end(wanted)
                if self.keeps_rows:
                    self.rows.append({"line": number, "kid": outcome.kid, "outcome": word})

    def refuse(self, number: int, cause: BadInput) -> None:
        """Count a refused entry and append it to the rejects file, if there is one.

        Raises Unavailable if that file cannot be written.
        """
        self._reject(number, REFUSED, cause, {})

    def refuse_duplicate(self, number: int, entry: Wanted) -> None:
        """Raise BadInput if an earlier entry has the same key; else remember the key's digest."""
        first = self._seen.setdefault(entry.identity(), number)
        if first != number:
            raise BadInput("key", f"is the same as in {self.unit} {first}")

    def show_refusals(self, notes: Mapping[str, int]) -> None:
        """Print the first MAX_SHOWN (20) refusals to stderr, how many more there are, and notes.

        notes: the number of entries, by a text that says which setting was not taken over.
        """
        for line in self._shown:
            write_stderr(line)
        if self._unshown:
            write_stderr(f"and {self._unshown} more; --rejects FILE has them all")
        for text, count in sorted(notes.items()):
            write_stderr(f"{count} with {text}")

    def document(self) -> dict[str, Any]:
        """Return the counts and dry_run as JSON members, and the rows if they were kept."""
        found: dict[str, Any] = {
            "imported": self.counts[IMPORTED],
            "already_there": self.counts[ALREADY],
            "refused": self.counts[REFUSED],
            "conflicts": self.counts[CONFLICT],
            "never_expire": self.never_expire,
            "dry_run": self.dry_run,
        }
        return found | ({"rows": sorted(self.rows, key=_line)} if self.keeps_rows else {})

    @property
    def has_refusals(self) -> bool:
        """True if an entry was refused or is in conflict with the store."""
        return bool(self.counts[REFUSED] or self.counts[CONFLICT])

    @property
    def has_progress(self) -> bool:
        """True if a key was imported, or was there already. A dry run counts as an import."""
        return bool(self.counts[IMPORTED] or self.counts[ALREADY])

    def __str__(self) -> str:
        verb = "would import" if self.dry_run else "imported"
        counts = self.counts
        text = (
            f"{verb} {counts[IMPORTED]}, already there {counts[ALREADY]}, refused {counts[REFUSED]}"
        )
        if counts[CONFLICT]:
            text += f", conflicts {counts[CONFLICT]}"
        if self.never_expire:
            text += f"; {self.never_expire} never expire" + "s" * (self.never_expire == 1)
        return text

    def _reject(self, number: int, outcome: str, cause: BadInput, about: Mapping[str, str]) -> None:
        self.counts[outcome] += 1
        name = cause.field.replace("-", "_")  # the field of an entry for an option of `issue`
        told = {"field": name, "problem": cause.problem}
        if self.rejects is not None:
            entry = json.dumps({"line": number, **about, **told})
            _append(self.rejects, entry.encode() + b"\n")
        if len(self._shown) < MAX_SHOWN:
            self._shown.append(f"{self.unit} {number}: {name}: {cause.problem}")
        else:
            self._unshown += 1
        if self.keeps_rows:
            row = {"line": number, "kid": about.get("kid"), "outcome": outcome, **told}
            self.rows.append(row)


def _line(row: Mapping[str, Any]) -> int:
    number: int = row["line"]
    return number


def _has_no_end(wanted: Wanted) -> bool:
    past = wanted.past
    return wanted.spec.life_ms is None and (past is None or past.expires_at is None)


def _append(file: io.FileIO, line: bytes) -> None:
    end = file.tell()
    try:
        while line:
            line = line[file.write(line) :]
    except OSError as cause:
        file.truncate(file.seek(end))  # remove the incomplete line
        remedy = "imported keys stay: run it again with a new file"
        raise Unavailable(f"--rejects: {cause.strerror}; {remedy}") from None
