"""Publishable keys: keys that may stand in a web page or an app, where anybody can read them.

Such a key is accepted on routes marked `public: true` alone, and has an allowed origin and a limit
that is enforced, or a plan. Whether a key is publishable never changes: a text that was published
is no secret.
"""

from dataclasses import replace
from typing import Final

from authz.core.errors import BadInput
from authz.core.limits.limit import parse_limits
from authz.core.records import KeyRecord

# Of a new key without limits and without a plan. All visitors of a page share them.
PUBLIC_LIMITS: Final = ("10/s", "10000/d")


def completed(record: KeyRecord) -> KeyRecord:
    """Return the record of a new key, with PUBLIC_LIMITS if it is publishable and lacks limits.

    Raises BadInput as `require_public` and `require_enforced_limit`.
    """
    if record.public and not (record.limits or record.plan):
        record = replace(record, limits=parse_limits("limits", PUBLIC_LIMITS))
    require_public(record)
    require_enforced_limit(record)
    return record


def require_public(record: KeyRecord) -> None:
    """Raise BadInput for a publishable key without an allowed origin, or without limits and plan.

    The field is `--origin` or `--limit`. A stored record has to pass, too.
    """
    if not record.public:
        return
    if not record.allowed_origins:
        raise BadInput(
            "--origin", "a publishable key needs an allowed origin, such as https://app.example.com"
        )
    if not (record.limits or record.plan):
        raise BadInput("--limit", "a publishable key needs a limit, such as 10/s, or a plan")


def require_so_still(record: KeyRecord, updated: KeyRecord) -> None:
    """Raise BadInput as `require_public` for an updated record, and also for new limits.

    New limits, or another plan, have to pass `require_enforced_limit`.
    """
    require_public(updated)
    if (record.limits, record.plan) != (updated.limits, updated.plan):
        require_enforced_limit(updated)


def require_enforced_limit(record: KeyRecord) -> None:
    """Raise BadInput for a publishable key whose own limits are all only reported.

    A plan is no way out: a limit of the key takes the place of that of its plan with the same name.
    A record that an earlier version stored may have such limits.
    """
    if record.public and record.limits and not any(limit.enforce for limit in record.limits):
        raise BadInput(
            "--limit", "a publishable key needs a limit that is enforced, such as 10/s, or a plan"
        )
