"""Change the keys that a selector picks: rehearse, ask, change, wait, and report by outcome."""

import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import click

from authz.cli.actor import actor
from authz.cli.administration import with_bulk
from authz.cli.change_text import change_text, changes_of, is_end
from authz.cli.color import RED, YELLOW, painted
from authz.cli.consent import refuse_unasked, require_consent
from authz.cli.invocation import Invocation, write_error, write_stderr
from authz.cli.selecting import described
from authz.cli.task import DONE, FAILED, Consent, Task
from authz.cli.terminal import escaped
from authz.cli.waiting import Waited
from authz.core.changes import KeyChange, Refused, Unchanged
from authz.core.deletion import Removal
from authz.core.edits import is_relative
from authz.core.errors import Unavailable
from authz.core.selector import Selector
from authz.flows.bulk_change import Failed, Skipped, Step
from authz.flows.by import By
from authz.flows.confirmation import Extent
from authz.flows.lifecycle import Changed
from authz.flows.selection import Cost
from authz.process.interruption import raise_if_interrupted
from authz.wiring.session import BulkSession


@dataclass(slots=True)
class Tally:
    """The outcomes so far. total: number of keys that were found. changed: kids.

    unchanged, skipped: numbers. refused, failed: reasons by kid.
    """

    total: int = 0
    changed: list[str] = field(default_factory=list)
    unchanged: int = 0
    skipped: int = 0
    refused: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def add(self, step: Step) -> None:
        """Count the outcome of one key."""
        match step.outcome:
            case Changed():
                self.changed.append(step.kid)
            case Unchanged():
                self.unchanged += 1
            case Skipped():
                self.skipped += 1
            case Refused(why):
                self.refused[step.kid] = why
            case Failed(why):
                self.failed[step.kid] = why

    def text(self, task: Task) -> str:
        """Return the counts in words, such as `3 revoked, 1 already revoked, 0 failed`."""
        counts = [f"{len(self.changed)} {task.past}", f"{self.unchanged} {task.already}"]
        counts += [f"{len(self.refused)} refused"] * bool(self.refused)
        counts += [f"{self.skipped} changed by others meanwhile"] * bool(self.skipped)
        return ", ".join([*counts, f"{len(self.failed)} failed"])


def change_selected(
    invocation: Invocation,
    selector: Selector,
    task: Task,
    consent: Consent,
    *,
    note: str,
    wait_seconds: float | None,
    nothing: int = FAILED,
) -> int:
    """Change the selected keys after a confirmation, and print the outcomes.

    With `consent.rehearsal`, print the changes and make none. Return 0 on success, 1 if a key was
    refused or failed, or `nothing` if no key was found. Raises BadInput if nobody can confirm,
    ClickException if the user says no, Exit(1) if the wait is incomplete. If an error or Ctrl-C
    stops the changes, print the counts to stderr and raise it.
    """
    if not (consent.agreed or consent.rehearsal):
        refuse_unasked()
    run = _Run(invocation, selector, task, note)
    kids = with_bulk(invocation, run.find)
    run.tally.total = len(kids)
    if not kids:
        run.report_nothing(is_fault=nothing != DONE)
        return nothing
    if consent.rehearsal:
        return run.rehearse(kids)
    if not consent.agreed:
        question = f"{task.verb} {len(kids)} keys of {described(selector)}{task.suffix}?"
        require_consent(question, f"nothing was {task.past}")
    waited = run.carry_out(kids, wait_seconds)
    return run.report(waited)


@dataclass(frozen=True, slots=True)
class _Run:
    """One run of a task over the selected keys, and its outcomes so far."""

    invocation: Invocation
    selector: Selector
    task: Task
    note: str
    tally: Tally = field(default_factory=Tally)
    extent: Extent = field(default_factory=Extent)
    cost: Cost = field(default_factory=Cost)

    async def find(self, session: BulkSession) -> list[str]:
        """Return the kids of all selected keys, also of unreadable ones; adds to `cost`."""
        return [entry.kid async for entry in session.finder.each(self.selector, self.cost)]

    def carry_out(self, kids: list[str], wait_seconds: float | None) -> Waited:
        """Change the keys, and wait for the sidecars if `wait_seconds` is not None.

        Return the wait, with its failure as `error`. Without a change it does not wait. If an error
        or Ctrl-C stops the changes, print the counts to stderr and raise it.
        """
        waited = Waited(None, wait_seconds)

        async def work(session: BulkSession) -> None:
            await self._change(session, kids, wait_seconds)
            if wait_seconds is not None and self.extent.version:
                try:
                    waited.confirmation = await session.many.confirmation(self.extent, wait_seconds)
                except Unavailable as cause:
                    waited.error = str(cause)

        try:
            with_bulk(self.invocation, work, reads=False)
        except BaseException:  # Ctrl-C, or a store failure
            done = f"{len(self.tally.changed)} of {self.tally.total} {self.task.past}"
            is_once = is_relative(self.task.edit)
            advice = "`authz keys history` tells which" if is_once else "run it again"
            write_stderr(f"stopped: {done}; {advice}")
            raise
        waited.is_waited_for = wait_seconds is not None and bool(self.extent.version)
        return waited

    async def _change(
        self, session: BulkSession, kids: list[str], wait_seconds: float | None
    ) -> None:
        task, seen = self.task, set[str]()
        hidden = not sys.stderr.isatty()
        bar: AbstractContextManager[Any] = click.progressbar(
            length=len(kids), label=task.going, file=sys.stderr, hidden=hidden
        )
        by = By(actor(), self.note)
        with bar as progress:
            while kids:
                seen.update(kids)
                steps = session.many.carry_out(
                    *(kids, task.edit, by),
                    selector=self.selector,
                    extent=self.extent,
                    wait_seconds=wait_seconds,
                )
                async for batch in steps:
                    for step in batch:
                        self.tally.add(step)
                        task.on_step(step)
                    progress.update(len(batch))
                    raise_if_interrupted()
                found: list[str] = []
                if task.keeps_looking:
                    again = session.finder.each(self.selector, Cost())
                    found = [entry.kid async for entry in again]
                kids = [kid for kid in found if kid not in seen]
                self.tally.total += len(kids)

    def report_nothing(self, *, is_fault: bool) -> None:
        """Print the answer, with counts of 0. is_fault: write an error to stderr, too."""
        selector = self.selector
        self.invocation.answer(self._document(), self._summary())
        if not is_fault:
            return
        alone = selector == Selector(client_id=selector.client_id)
        what = described(selector)
        problem = f"{what} has no keys" if alone else f"no key has {what}"
        write_error(f"{problem}; see `authz keys list`")

    def rehearse(self, kids: list[str]) -> int:
        """Print the changes, and make none. Return 1 if a key would be refused or fail, else 0."""
        would: list[dict[str, Any]] = []
        lines: list[str] = []

        async def work(session: BulkSession) -> None:
            by, edit = By(actor()), self.task.edit
            async for kid, outcome in session.many.rehearse(kids, edit, by, self.selector):
                if isinstance(outcome, KeyChange | Removal):
                    found = changes_of(outcome)
                    would.append({"kid": kid, "changes": found})
                    line = escaped(f"{kid}  {change_text(found)}")
                    lines.append(painted(line, RED if is_end(outcome) else YELLOW))
                else:
                    self.tally.add(Step(kid, outcome))

        with_bulk(self.invocation, work)
        self.tally.changed += [entry["kid"] for entry in would]
        document = self._document() | {"dry_run": True, "would_change": would}
        document[self.task.past] = []
        total = f"dry run, nothing is changed: {self._summary()}"
        self.invocation.answer(document, "\n".join([*lines, total]))
        return self._complain()

    def report(self, waited: Waited) -> int:
        """Print the outcomes. Return 1 if a key was refused or failed, else 0.

        Raises Exit(1) if the wait is incomplete.
        """
        document, text = self._document() | waited.document(), self._summary()
        if self.extent.replicas is not None:
            document["replicas"] = self.extent.replicas
            text += f"; {self.extent.replicas} replicas have that"
        self.invocation.answer(document, text + waited.text())
        code = self._complain()
        waited.exit_if_incomplete()
        return code

    def _summary(self) -> str:
        return f"{described(self.selector)}: {self.tally.text(self.task)}"

    def _document(self) -> dict[str, Any]:
        task, tally = self.task, self.tally
        return {
            "client": self.selector.client_id,
            "action": task.verb,
            "matched": tally.total,
            task.past: tally.changed,
            task.already.replace(" ", "_"): tally.unchanged,
            "skipped": tally.skipped,
            "refused": _reasons(tally.refused),
            "failed": _reasons(tally.failed),
            "cost": {"keys_looked_at": self.cost.scanned, "records_read": self.cost.read},
        }

    def _complain(self) -> int:
        bad = self.tally.refused | self.tally.failed
        if not self.invocation.as_json:
            for kid, why in bad.items():
                # A refusal names its key; a failure may not.
                problem = why if why.startswith(kid) else f"{kid}: {why}"
                write_error(problem, f"not {self.task.past}")
        return FAILED if bad else DONE


def _reasons(found: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"kid": kid, "error": why} for kid, why in found.items()]
