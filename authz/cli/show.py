"""A key record as JSON and as text, without its digests."""

from typing import TYPE_CHECKING, Any, Final

from authz.cli import color
from authz.cli.terminal import escaped, escaped_lines
from authz.cli.times import duration, optional, rough
from authz.core.limits.limit import Limit
from authz.core.limits.periods import Calendar
from authz.core.records import KeyRecord, Secret, Status
from authz.core.selector import is_expired
from authz.core.times import rfc3339

if TYPE_CHECKING:  # most commands show no usage
    from authz.core.usage.commit import Denial, Sight
    from authz.core.usage.question import LatestUse
    from authz.flows.limits.credit_report import Credits
    from authz.flows.waiting_deliveries import WaitingDelivery

DECIDE: Final = (
    "undecided: if the holder has the new secret, `authz keys retire KID --secret old`,\n"
    "else `authz keys rollback KID`; until then both secrets work"
)
_NEEDED: Final = "until the new secret has arrived, its holder needs the old one"
_NONE: Final = "the old secret has ended: until the new one has arrived, its holder has none"


def document(record: KeyRecord) -> dict[str, Any]:
    """Return the record as JSON members without digests.

    Times are in RFC 3339, null for an unset time. outage_grace is a text such as `30s`.
    """
    reason = record.revocation_reason
    return {
        "kid": record.kid,
        "version": record.version,
        "status": record.status.value,
        "env": record.env,
        "public": record.public,
        "name": record.name,
        "client_id": record.client_id,
        "project_id": record.project_id,
        "tenant_id": record.tenant_id,
        "plan": record.plan,
        "limits": list(map(limit_document, record.limits)),
        "on_outage": record.on_outage,
        "throttle": _throttle(record),
        "scopes": sorted(record.scopes),
        "secrets": [_secret(entry) for entry in record.secrets],
        "created_at": rfc3339(record.created_at),
        "not_before": optional(record.not_before),
        "expires_at": optional(record.expires_at),
        "allowed_cidrs": [str(network) for network in record.allowed_cidrs],
        "allowed_hosts": list(record.allowed_hosts),
        "allowed_origins": list(record.allowed_origins),
        "metadata": dict(sorted(record.metadata.items())),
        "outage_grace": None if record.outage_grace is None else duration(record.outage_grace),
        "revoked_at": optional(record.revoked_at),
        "revocation_reason": reason.value if reason else None,
    }


def _throttle(record: KeyRecord) -> dict[str, Any] | None:
    found = record.throttle
    if found is None:
        return None
    return {"percent": found.percent, "until": rfc3339(found.until)}


def state(record: KeyRecord, now: int) -> dict[str, Any]:
    """Return the JSON members that depend on the time. now: ms since the epoch.

    expired: whether the end of the key is past, also if it is disabled; false if it is revoked.
    """
    return {"expired": is_expired(record, now)}


def limit_document(limit: Limit) -> dict[str, Any]:
    """Return one limit as JSON members.

    per: its period as text. zone: the time zone of a calendar period; null for a window.
    """
    return {
        "name": limit.name,
        "limit": limit.limit,
        "per": str(limit.per),
        "zone": limit.per.zone if isinstance(limit.per, Calendar) else None,
        "burst": limit.burst,
        "of": limit.of.value,
        "cost_of": limit.cost_of.value,
        "enforce": limit.enforce,
    }


def credits_document(found: "Credits | None") -> dict[str, int] | None:
    """Return the credits as JSON members; None for a key without credits."""
    if found is None:
        return None
    return {"total": found.total, "used": found.used, "left": found.left}


def credits_line(found: "Credits") -> str:
    """Return the credits as a line that fits below `table`: `credits  80 left of 100`."""
    return f"{'credits':<17}  {found.left} left of {found.total}"


def delivery_document(one: "WaitingDelivery") -> dict[str, Any]:
    """Return a pending delivery as JSON members, without those of its key."""
    return {
        "target": one.target,
        "secret": one.secret,
        "since": rfc3339(one.began_at),
        "is_undecided": one.is_undecided,
    }


def delivery_lines(one: "WaitingDelivery", now: int) -> str:
    """Return a pending delivery as escaped lines that fit below `table`. now: in ms."""
    told = f"pending since {rfc3339(one.began_at)}: secret {one.secret} to the target {one.target}"
    others = [each for each in one.record.secrets if each.id != one.secret and each.is_live(now)]
    advice = DECIDE if one.is_undecided else _NEEDED if others else _NONE
    lines = (f"{'':<17}  {line}" for line in advice.splitlines())
    return escaped_lines("\n".join((f"{'delivery':<17}  {told}", *lines)))


def usage_document(use: "LatestUse") -> dict[str, Any]:
    """Return the latest use as JSON members: of the key, null if there is none, and by secret id.

    The requests of the last 30 days are a number. The latest denials are a list, newest first.
    Times are in RFC 3339.
    """
    return {
        "last_used": _sight(use.latest) if use.latest else None,
        "secrets": {
            name: _sight(sight) | {"requests": number}
            for name, (sight, number) in sorted(use.secrets.items())
        },
        "requests_30d": use.last_30_days.requests,
        "denials": [_denial(denial) for denial in use.denials],
    }


def usage_lines(record: KeyRecord, use: "LatestUse", now: int) -> str:
    """Return the latest use and denial of a key, and its requests in 30 days, as escaped lines.

    During an overlap there is a line for each live secret. now: milliseconds since the epoch.
    """
    used = f"{'last used':<17}  {_use_line(use.latest, now)}"
    lines = [used, f"{'requests 30 d':<17}  {use.last_30_days.requests}"]
    if use.denials:
        lines.append(f"{'last denied':<17}  {_denial_line(use.denials[0], now)}")
    live = [secret for secret in record.secrets if secret.is_live(now)]
    if len(live) > 1:
        for secret in live:
            sight = use.secrets[secret.id][0] if secret.id in use.secrets else None
            age = "new" if secret is live[-1] else "old"
            lines.append(f"{'':<17}  the {age} secret {secret.id}: {_use_line(sight, now)}")
    return escaped_lines("\n".join(lines))


def _use_line(sight: "Sight | None", now: int) -> str:
    if sight is None:
        return "never, as far as usage was counted"
    ago = f"{rough(max(0, now - sight.at * 1000))} ago"
    source = f" from {sight.network}" if sight.network else ""
    agent = f" by {sight.agent}" if sight.agent else ""
    return f"{rfc3339(sight.at * 1000)}, {ago}{source}{agent}"


def _denial_line(denial: "Denial", now: int) -> str:
    ago = f"{rough(max(0, now - denial.at * 1000))} ago"
    words = [denial.reason, *filter(None, (denial.method, denial.route))]
    source = f" from {denial.network}" if denial.network else ""
    return f"{rfc3339(denial.at * 1000)}, {ago}: {' '.join(words)}{source}"


def _denial(denial: "Denial") -> dict[str, Any]:
    return {
        "at": rfc3339(denial.at * 1000),
        "reason": denial.reason,
        "route": denial.route or None,
        "status": denial.code,
        "network": denial.network or None,
        "method": denial.method or None,
        "requests": denial.requests,
    }


def _sight(sight: "Sight") -> dict[str, Any]:
    return {
        "at": rfc3339(sight.at * 1000),
        "network": sight.network or None,
        "agent": sight.agent or None,
    }


def table(record: KeyRecord, now: int, revision: int | None = None) -> str:
    """Return the record as text, a line for each value, without unset fields and empty lists.

    The status is painted, see color.py.

    now: milliseconds since the epoch, for the status and the secrets. revision: the number of
    changes of this key.
    """
    rows = document(record)
    if revision is not None:
        told = f"{revision} of this key; version counts the changes of all keys"
        kid, version = rows.pop("kid"), rows.pop("version")
        rows = {"kid": kid, "version": version, "revision": told, **rows}
    rows["public"] = "yes: it may stand in a web page or an app" if record.public else ""
    rows["status"] = status_text(record, now)
    rows["limits"] = list(map(str, record.limits))
    rows["throttle"] = _throttle_text(record, now)
    rows["secrets"] = [_secret_line(entry, now) for entry in record.secrets]
    rows["metadata"] = [f"{name}={value}" for name, value in rows["metadata"].items()]
    lines = []
    for name, value in rows.items():
        for index, entry in enumerate(value if isinstance(value, list) else [value]):
            if entry not in {None, ""}:
                shown = escaped(str(entry))
                shown = color.status(shown) if name == "status" else shown
                lines.append(f"{'' if index else name:<17}  {shown}")
    return "\n".join(lines)


def _throttle_text(record: KeyRecord, now: int) -> str:
    """Return the throttle in words; empty if there is none or it is over."""
    found = record.throttle
    return str(found) if found and now < found.until else ""


def summary(record: KeyRecord) -> str:
    """Return kid, client, environment and expiry in one line, with control characters escaped."""
    until = f"expires {rfc3339(record.expires_at)}" if record.expires_at else "does not expire"
    kind = f"{record.env}, publishable" if record.public else record.env
    return escaped(f"{record.kid}, client {record.client_id}, {kind}, {until}")


def status_text(record: KeyRecord, now: int) -> str:
    """Return the status; for an active key also whether it is expired or not yet valid at `now`.

    now: milliseconds since the epoch. A key is expired from `expires_at` on.
    """
    if record.status is Status.ACTIVE and record.expires_at and now >= record.expires_at:
        return "active, but expired"
    if record.status is Status.ACTIVE and record.not_before and now < record.not_before:
        return "active, but not yet valid"
    return record.status.value


def _secret(entry: Secret) -> dict[str, str | None]:
    return {
        "id": entry.id,
        "pepper": entry.pepper,
        "created_at": rfc3339(entry.created_at),
        "retires_at": optional(entry.retires_at),
    }


def _secret_line(entry: Secret, now: int) -> str:
    line = f"{entry.id}: pepper {entry.pepper}, made {rfc3339(entry.created_at)}"
    if entry.retires_at is None:
        return line
    verb = "works until" if entry.is_live(now) else "retired"
    return f"{line}, {verb} {rfc3339(entry.retires_at)}"
