"""The specification of a new key, parsed from the options of a command."""

from collections.abc import Collection, Mapping
from typing import Any, Final

from authz.cli.options import budget_text, metadata, optional_id, plan, scopes
from authz.cli.times import NEVER, moment_ms
from authz.core import fields
from authz.core.errors import BadInput
from authz.core.limits.credits import credits_limit
from authz.core.limits.limit import OnOutage, parse_limits
from authz.core.new_keys import KeySpec
from authz.process.clock import SystemClock

DEFAULT_LIFE: Final = "90d"


def key_spec(client: str, env: str, name: str, plans: Collection[str], **asked: Any) -> KeySpec:
    """Parse the options of `authz keys issue`. Raises BadInput, which names the option.

    plans: names of all plans; only looked at if --plan is given. An option that is not given leaves
    its field empty or None; without --expires-in and --expires-at the key lives 90 days,
    a canary key for ever. Times may
    be relative to the wall clock.
    """
    return KeySpec(
        client_id=fields.identifier("--client", client),
        env=env,
        public=asked["public"],
        name=fields.line("--name", name),
        project_id=optional_id("--project", asked["project"]),
        tenant_id=optional_id("--tenant", asked["tenant"]),
        plan=plan("--plan", asked["plan"], plans) if asked["plan"] is not None else "",
        limits=parse_limits(
            "--limit", [*asked["limit"], *_budgets(asked), *_credits(asked["credits"])]
        ),
        on_outage=asked["on_outage"] and OnOutage(asked["on_outage"]),
        scopes=scopes("--scope", asked["scopes"]),
        not_before=_not_before(asked["not_before"]),
        life_ms=_life_ms(asked["expires_in"], asked["expires_at"], is_canary=asked["is_canary"]),
        expires_at=_expires_at(asked["expires_at"]),
        allowed_cidrs=fields.networks("--cidr", asked["cidrs"]),
        allowed_hosts=fields.hosts("--host", asked["hosts"]),
        allowed_origins=fields.origins("--origin", asked["origins"]),
        metadata=metadata("--metadata", asked["metadata"]),
        outage_grace=_outage_grace(asked["outage_grace"]),
        is_canary=asked["is_canary"],
    )


def _budgets(asked: Mapping[str, Any]) -> list[str]:
    """Return the texts of the limits that `--budget` gives."""
    return list(map(budget_text, asked["budget"]))


def _credits(text: str | None) -> list[str]:
    return [] if text is None else [credits_limit("--credits", text)]


def _not_before(text: str | None) -> int | None:
    return None if text is None else moment_ms("--not-before", text, SystemClock().wall_ms())


def _life_ms(life: str | None, end: str | None, *, is_canary: bool) -> int | None:
    if life is not None and end is not None:
        raise BadInput("--expires-at", "give either it or --expires-in")
    if end is not None:
        return None
    default = NEVER if is_canary else DEFAULT_LIFE
    return life_ms("--expires-in", default if life is None else life)


def _expires_at(end: str | None) -> int | None:
    if end is None or end == NEVER:
        return None
    return moment_ms("--expires-at", end, SystemClock().wall_ms())


def life_ms(field: str, text: str) -> int | None:
    """Return a lifetime in milliseconds, or None for `never`.

    Raises BadInput about `field` for 0, a text that is not a duration, or more than 100 years.
    """
    life = None if text == NEVER else fields.duration_ms(field, text)
    if life == 0:
        raise BadInput(field, "0 is not a lifetime; for a key without an end, use `never`")
    return life


def _outage_grace(text: str | None) -> int | None:
    return None if text is None else fields.outage_grace_ms("--outage-grace", text)
