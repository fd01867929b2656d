"""Reasons of a revocation, by the names of RFC 5280 and by common words for them."""

import re
from typing import Any, Final

import click

SYNONYMS: Final = {
    **dict.fromkeys(
        (
            *("leaked", "leak", "compromised", "compromise", "stolen", "hacked", "exposed"),
            *("breach", "breached", "published", "public", "lost"),
        ),
        "key_compromise",
    ),
    **dict.fromkeys(("replaced", "rotated", "renewed", "duplicate", "duplicated"), "superseded"),
    **dict.fromkeys(
        (
            "unused",
            "closed",
            "retired",
            "expired",
            "offboarded",
            "cancelled",
            "canceled",
            "churned",
        ),
        "cessation_of_operation",
    ),
    **dict.fromkeys(
        ("left", "moved", "resigned", "offboarding", "former_employee"), "affiliation_changed"
    ),
    **dict.fromkeys(
        ("abuse", "abused", "misuse", "misused", "unpaid", "fraud", "spam"), "privilege_withdrawn"
    ),
    **dict.fromkeys(("unknown", "other", "none"), "unspecified"),
}
_HUMP: Final = re.compile(r"(?<=[a-z])(?=[A-Z])", re.ASCII)  # keyCompromise, as RFC 5280 spells it


class Reason(click.Choice[str]):
    """A reason of RFC 5280, or a common word for one. Case, `-` and `_` do not matter."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the reason; a word of SYNONYMS becomes its reason.

        Raises BadParameter (a UsageError) for any other word.
        """
        word = _HUMP.sub("_", str(value)).lower().replace("-", "_").replace(" ", "_")
        found = SYNONYMS.get(word, word)
        if found not in self.choices:
            known = ", ".join(self.choices)
            self.fail(f"{value!r} is no reason, such as leaked, replaced or {known}", param, ctx)
        return found
