"""A file of keys, compared with the store and with the plans of the settings."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from authz.cli.administration import all_plans, with_files
from authz.cli.change_text import readable, value_text
from authz.cli.declared import KeyFile
from authz.cli.invocation import Invocation, write_warning
from authz.cli.options import plan as known_plan
from authz.cli.over_api import is_over_api
from authz.core.errors import BadInput, BadSettings
from authz.core.merging import fields_of
from authz.core.records import KeyRecord
from authz.flows.applying import Intent, Prunable
from authz.wiring.session import FileSession


def _kind(record: KeyRecord) -> str:
    return f"{record.env}, publishable" if record.public else record.env


@dataclass(slots=True)
class Comparison:
    """A file compared with the store. intents: for each key of the file, in its order.

    pruned: keys that the file does not declare; one with a `problem` must not be pruned. total: the
    number of these and of the file's keys in the store. Both are empty or 0 without --prune.
    """

    file: KeyFile
    intents: Sequence[Intent]
    pruned: Sequence[Prunable] = ()
    total: int = 0

    @property
    def problems(self) -> list[str]:
        """The reasons why the file cannot be applied, a line for each key; may be empty."""
        found = [f"{i.declared.label}: {i.problem}" for i in self.intents if i.problem]
        return found + [f"{p.record.kid}: {p.problem}" for p in self.pruned if p.problem]

    @property
    def is_different(self) -> bool:
        """Whether an apply would change the store, or cannot be made. `kept` does not count."""
        return bool(self.problems or self.lines())

    def lines(self) -> list[str]:
        """Return a line for each new key, each field to be set and each key to be revoked.

        They begin with +, ~ and -. Keys with a problem are left out.
        """
        found: list[str] = []
        for intent in self.intents:
            one = intent.declared
            if intent.is_new:
                found.append(f"+ {one.ref}  client {one.record.client_id}, {_kind(one.record)}")
            elif intent.stored is not None and not intent.problem:
                found += [
                    f"~ {one.kid}  {name} {value_text(value)}"
                    for name, value in _changes(intent).items()
                ]
        return found + [
            f"- {p.record.kid}  client {p.record.client_id}, {p.record.name or 'no name'}"
            for p in self.pruned
            if not p.problem
        ]

    def kept(self) -> list[str]:
        """Return a line for each field that was changed in the store alone and stays so."""
        return [
            f"= {i.declared.kid}  {name} {value_text(value)} was set in the store and stays"
            for i in self.intents
            for name, value in readable(i.merged.kept).items()
        ]

    def document(self) -> dict[str, Any]:
        """Return the comparison as JSON members: refs of new keys, kids and fields of others.

        conflicts: `problems`.
        """
        return {
            "new": [i.declared.ref for i in self.intents if i.is_new],
            "changed": [
                {
                    "kid": i.declared.kid,
                    "changes": _changes(i),
                }
                for i in self.intents
                if i.merged.wanted and not i.problem
            ],
            "pruned": [p.record.kid for p in self.pruned if not p.problem],
            "kept": [
                {"kid": i.declared.kid, "fields": readable(i.merged.kept)}
                for i in self.intents
                if i.merged.kept
            ],
            "conflicts": self.problems,
        }


def compare(invocation: Invocation, file: KeyFile, *, prune: bool, overwrites: bool) -> Comparison:
    """Compare a file with the store, and change nothing.

    prune: also find the keys that the file does not declare. overwrites: the file wins over later
    changes of the store. Raises the errors of `with_files`.
    """

    async def work(session: FileSession) -> Comparison:
        intents = await session.applying.compare(file.keys, overwrites=overwrites)
        if not prune:
            return Comparison(file, intents)
        named = [intent.declared for intent in intents]
        pruned = await session.applying.prunable(file.scope, named, file.as_of)
        alive = sum(i.stored is not None for i in intents)
        return Comparison(file, intents, pruned, alive + len(pruned))

    return with_files(invocation, work)


def check_plans(invocation: Invocation, path: str, file: KeyFile) -> None:
    """Check that the plan of each key stands in the file or in the settings.

    Plans that are in the file alone give a warning on stderr. With --admin the settings are those
    of the server, and it takes no other plan. Raises BadSettings with each unknown plan.
    """
    named = {one.record.plan for one in file.keys} - {""}
    plans = set(all_plans(invocation)) if named else set()
    in_file = set() if is_over_api(invocation) else file.plans
    mistakes: list[BadInput] = []
    for one in file.keys:
        try:
            if one.record.plan:
                known_plan(f"-f: {one.label}: plan", one.record.plan, {*plans, *in_file})
        except BadInput as cause:
            mistakes.append(cause)
    if mistakes:
        raise BadSettings(mistakes)
    if alone := sorted(named - plans):
        problem = f"the settings do not know {', '.join(alone)}: sidecars need include: [{path}]"
        write_warning(problem)


def _changes(intent: Intent) -> dict[str, Any]:
    """Return the fields that an apply sets, by name: `old` and `new`, as `readable` gives them."""
    before = fields_of(intent.stored) if intent.stored else {}
    wanted = intent.merged.wanted.items()
    return readable({name: {"old": before.get(name), "new": new} for name, new in wanted})
