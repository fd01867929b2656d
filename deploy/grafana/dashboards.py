"""Make the dashboards from a table. To write the files that Grafana imports:

python deploy/grafana/dashboards.py

A query names metrics as Prometheus does. `$job` is chosen at the top of a dashboard.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import Any

COLUMNS = 24
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
OPTIONS: dict[str, dict[str, Any]] = {
    "timeseries": {"legend": {"displayMode": "list", "placement": "bottom"}},
    "stat": {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "none"},
    "bargauge": {"reduceOptions": {"calcs": ["lastNotNull"]}, "orientation": "horizontal"},
    "heatmap": {"calculate": False, "yAxis": {"unit": "s"}, "color": {"mode": "scheme"}},
    "table": {},
}


@dataclass(frozen=True)
class Panel:
    """One panel: its queries by legend. `width`: columns out of 24."""

    title: str
    unit: str
    queries: dict[str, str]
    kind: str = "timeseries"
    width: int = 8
    about: str = ""


def rate(metric: str, *matchers: str, by: str = "") -> str:
    """Return a query for events a second, summed over the sidecars of the job."""
    return f"sum by ({by}) (rate({metric}{where(*matchers)}[$__rate_interval]))"


def share(part: str, whole: str) -> str:
    """Return a query for the ratio of two rates; no result without events."""
    return f"{part} / {whole}"


def quantile(q: float, metric: str, *matchers: str) -> str:
    """Return a query for a quantile of a histogram."""
    return f"histogram_quantile({q}, {rate(f'{metric}_bucket', *matchers, by='le')})"


def where(*matchers: str) -> str:
    """Return the label matchers of a selector."""
    return "{" + ", ".join(('job=~"$job"', *matchers)) + "}"


def left(sli: str) -> str:
    """Return a query for the rest of a 30-day error budget; negative if overspent."""
    bad, all_ = (
        f"avg_over_time(authz:sli_{kind}:rate5m{where(sli)}[30d])" for kind in ("errors", "events")
    )
    return f"1 - ({bad} / {all_}) / on (sli) group_left () (1 - authz:objective:ratio)"


CHECKS, FAILED = "authz_checks_total", "authz_authentication_failures_total"
CHANGING = "|".join(
    f"Keys.{name}"
    for name in (
        *("CreateKey", "UpdateKey", "RotateKey", "RetireKeySecret", "RollBackKey", "RevokeKey"),
        *("DisableKey", "EnableKey", "DeleteKey", "ImportKeys", "ChangeKeys"),
    )
)
DECIDED, REFUSED = 'outcome!="unavailable"', 'outcome!="allowed"'
DURATION, LOOKUP, LAG = (
    "authz_check_duration_seconds",
    "authz_key_lookup_duration_seconds",
    "authz_change_lag_seconds",
)
LIMITS, FIRING = "authz_limits_decisions_total", 'ALERTS{alertname=~"Authz.+", alertstate="firing"}'
GOOD_SHARE = "1 - authz:sli_error:ratio" + where('window="1h"')

DECIDED_SHARE = Panel(
    "Checks that were decided",
    "percentunit",
    {"decided": share(rate(CHECKS, DECIDED), rate(CHECKS))},
    about="The others were answered 503: the store was out of reach and the key not known.",
)
SUCCESS = Panel(
    "Callers that authenticate",
    "percentunit",
    {"authenticated": f"1 - {share(rate(FAILED), rate(CHECKS))}"},
)

EXECUTIVE = (
    Panel("Checks a second", "cps", {"": rate(CHECKS)}, "stat", 3),
    Panel("Decided", "percentunit", DECIDED_SHARE.queries, "stat", 3),
    Panel("Authenticated", "percentunit", SUCCESS.queries, "stat", 3),
    Panel(
        "95 % of checks take less than",
        "s",
        {"": f"max(authz:check_duration_seconds:p95{where()})"},
        "stat",
        4,
    ),
    Panel(
        "99 % of cache hits, less than",
        "s",
        {"": f"max(authz:hit_duration_seconds:p99{where()})"},
        "stat",
        4,
    ),
    Panel(
        "99 % of changes arrive within",
        "s",
        {"": f"max(authz:change_lag_seconds:p99{where()})"},
        "stat",
        4,
        "Revocations, rotations and all else. Empty while nothing changes.",
    ),
    Panel("Sidecars that serve", "none", {"": f"sum(authz_ready{where()})"}, "stat", 3),
    Panel(
        "Error budgets left, of 30 days",
        "percentunit",
        {"{{sli}}": left('sli!=""')},
        "bargauge",
        12,
        "1 is all of it; below 0 the objective is missed.",
    ),
    Panel("Objectives, over the last hour", "percentunit", {"{{sli}}": GOOD_SHARE}, width=12),
    Panel("Checks by outcome", "cps", {"{{outcome}}": rate(CHECKS, by="outcome")}, width=12),
    Panel(
        "Over their limits",
        "percentunit",
        {"denied": share(rate(LIMITS, 'decision="denied"'), rate(LIMITS))},
        width=12,
        about="Of the checks of limited keys.",
    ),
)

ON_CALL = (
    Panel("Firing", "none", {"": FIRING}, "table", 24),
    Panel("Success rate", "percentunit", DECIDED_SHARE.queries | SUCCESS.queries),
    Panel(
        "How fast budgets are spent",
        "none",
        {"{{sli}} {{window}}": "authz:sli_burn:factor" + where('window=~"5m|1h|6h"')},
        about="1 lasts for 30 days. A page comes at 14.4 over 1 h or 6 over 6 h.",
    ),
    Panel(
        "Sidecars",
        "none",
        {
            "ready": f"sum(authz_ready{where()})",
            "trusted": f"sum(authz_trust_held{where()})",
            "linked": f"sum(authz_link_up{where()})",
            "partitions not trusted": f"sum(authz_partitions_untrusted{where()})",
            "counting limits": f"sum(authz_limits_link_up{where()})",
            "all": f"count(authz_build_info{where()})",
        },
    ),
    Panel(
        "Latency",
        "s",
        {"{{le}}": f"sum by (le) (increase({DURATION}_bucket{where()}[$__rate_interval]))"},
        "heatmap",
        12,
    ),
    Panel(
        "Top failing reasons",
        "cps",
        {"{{reason}}": f"topk(8, {rate(CHECKS, REFUSED, by='reason')} > 0)"},
        width=12,
    ),
    Panel(
        "Changes applied, revocations among them",
        "cps",
        {"{{instance}}": rate("authz_change_applied_total", by="instance")},
    ),
    Panel(
        "How late changes are applied",
        "s",
        {"p50": quantile(0.5, f"{LAG}"), "p99": quantile(0.99, f"{LAG}")},
        about="By the clocks of the store and of the sidecar.",
    ),
    Panel(
        "Since the last proof that the cache is current",
        "s",
        {"{{instance}}": f"max by (instance) (authz_trust_age_seconds{where()})"},
        about="A revocation is late by that much at most, and by the grace in an outage.",
    ),
    Panel(
        "In an outage",
        "cps",
        {
            "allowed by what was known": rate("authz_cache_stale_answers_total"),
            "unavailable": rate(CHECKS, 'outcome="unavailable"'),
        },
    ),
    Panel(
        "Grace left",
        "s",
        {"{{instance}}": f"min by (instance) (authz_outage_grace_remaining_seconds{where()})"},
    ),
    Panel("Failed authentications", "cps", {"{{reason}}": rate(FAILED, by="reason")}),
)

DEBUG = (
    Panel(
        "Hit ratio of the cache",
        "percentunit",
        {
            "{{result}}": rate("authz_cache_lookups_total", by="result")
            + " / on () group_left () "
            + rate("authz_cache_lookups_total")
        },
    ),
    Panel("Held", "none", {"{{kind}}": f"sum by (kind) (authz_cache_entries{where()})"}),
    Panel(
        "Pushed out, and forgotten",
        "cps",
        {
            "evictions": rate("authz_cache_evictions_total"),
            "flushes": rate("authz_cache_flushes_total"),
        },
    ),
    Panel(
        "Lookups",
        "cps",
        {"{{result}}": rate(f"{LOOKUP}_count", by="result")}
        | {"{{reason}}": rate("authz_key_lookup_failures_total", by="reason")},
    ),
    Panel(
        "Time of a lookup",
        "s",
        {"p50": quantile(0.5, LOOKUP), "p99": quantile(0.99, LOOKUP)},
    ),
    Panel(
        "Imported keys and new tokens",
        "cps",
        {"{{result}}": rate("authz_alias_lookups_total", by="result")}
        | {"token {{result}}": rate("authz_token_signatures_total", by="result")},
    ),
    Panel(
        "Index of imported keys",
        "short",
        {"{{instance}}": f"sum by (instance) (authz_alias_index{where()})"},
    ),
    Panel(
        "Time of a check",
        "s",
        {
            "hit p50": quantile(0.5, DURATION, 'cache="hit"'),
            "hit p99": quantile(0.99, DURATION, 'cache="hit"'),
            "miss p50": quantile(0.5, DURATION, 'cache="miss"'),
            "miss p99": quantile(0.99, DURATION, 'cache="miss"'),
        },
    ),
    Panel(
        "The link",
        "cps",
        {
            "connects": rate("authz_link_connects_total"),
            "losses": rate("authz_link_losses_total"),
        },
    ),
    Panel(
        "Changes that did not come by themselves",
        "cps",
        {
            "replays {{result}}": rate("authz_change_replays_total", by="result"),
            "gaps": rate("authz_change_gaps_total"),
            "garbled": rate("authz_change_garbled_total"),
            "resets": rate("authz_change_sequence_resets_total"),
        },
    ),
    Panel(
        "The last change applied",
        "none",
        {"{{instance}}": f"max by (instance) (authz_change_sequence{where()})"},
        about="Lines that part show a sidecar that is behind.",
    ),
    Panel(
        "Limits",
        "cps",
        {
            "{{decision}} {{source}}": rate(LIMITS, by="decision, source"),
            "allowed, would be denied": rate("authz_limits_shadow_denials_total"),
        },
    ),
    Panel(
        "Limits and the store",
        "cps",
        {
            "calls": rate("authz_limits_store_calls_total"),
            "leases": rate("authz_limits_leases_total"),
            "stranded": rate("authz_limits_stranded_total"),
            "garbled": rate("authz_limits_garbled_total"),
        },
    ),
    Panel(
        "What the transport refused",
        "cps",
        {"{{event}}": rate("authz_transport_events_total", by="event")},
    ),
    Panel(
        "Snapshots",
        "cps",
        {"{{result}}": rate("authz_snapshot_writes_total", by="result")},
        about="One a minute from each sidecar that has cache.snapshot.",
    ),
    Panel(
        "Faults, and lines that were not logged",
        "cps",
        {
            "faults": rate("authz_check_faults_total"),
            "lines": rate("authz_log_suppressed_total"),
        },
    ),
    Panel(
        "Processor",
        "percentunit",
        {
            "{{instance}} {{cpu_mode}}": rate(
                "process_cpu_time_seconds_total", by="instance, cpu_mode"
            )
        },
        about="One process uses one core.",
    ),
    Panel(
        "Memory",
        "bytes",
        {"{{instance}}": f"sum by (instance) (process_memory_usage_bytes{where()})"},
    ),
    Panel(
        "Since the start",
        "s",
        {"{{instance}}": f"min by (instance) (process_uptime_seconds{where()})"},
    ),
    Panel(
        "What runs",
        "none",
        {
            "{{version}} on {{python}}, hot path {{hot_path}}": (
                f"count by (version, python, hot_path) (authz_build_info{where()})"
            )
        },
    ),
    Panel(
        "Refusals that are not enforced",
        "cps",
        {"{{reason}}": f"{rate('authz_check_would_be_denials_total', by='reason')}"},
        about="With check.enforce false, or a route's enforce false, these requests are allowed.",
    ),
)

USAGE = (
    Panel(
        "Meters that take batches",
        "none",
        {"": f"sum (authz_meter_ready{where()})"},
        kind="stat",
        width=6,
        about="Without a meter, Envoy keeps the records for a while and then drops them.",
    ),
    Panel(
        "Oldest batch that the store does not have",
        "s",
        {"": f"max (authz_meter_lag_seconds{where()})"},
        kind="stat",
        width=6,
    ),
    Panel(
        "Batches that wait for the store",
        "bytes",
        {"{{instance}}": f"sum by (instance) (authz_meter_waiting_bytes{where()})"},
        width=12,
        about="More than meter.max_waiting_mib is deferred: Envoy sends it again later.",
    ),
    Panel("Records", "cps", {"{{result}}": rate("authz_meter_entries_total", by="result")}),
    Panel(
        "Records of no key",
        "cps",
        {"{{cause}}": rate("authz_meter_entries_refused_total", by="cause")},
    ),
    Panel(
        "Batches",
        "cps",
        {"{{result}}": rate("authz_meter_batches_total", by="result")},
        about="repeated: counted before, and left out.",
    ),
    Panel(
        "Time of a commit",
        "s",
        {
            "p50": quantile(0.5, "authz_meter_commit_duration_seconds"),
            "p99": quantile(0.99, "authz_meter_commit_duration_seconds"),
        },
    ),
    Panel(
        "Commits",
        "cps",
        {
            "confirmed": rate("authz_meter_commit_duration_seconds_count"),
            "asked again": rate("authz_meter_commit_failures_total"),
        },
    ),
    Panel(
        "Additions that the store could not make",
        "cps",
        {"{{fault}}": rate("authz_meter_faulty_counters_total", by="fault")},
    ),
    Panel(
        "Budgets: use that was not reported as it should be",
        "cps",
        {"{{result}}": rate("authz_meter_doubtful_use_total", by="result")},
    ),
)

USAGE += (
    Panel(
        "Unusual hours of keys, a day",
        "none",
        {
            "{{feature}}": "sum by (feature) "
            f"(increase(authz_admin_anomaly_found_total{where()}[1d]))"
        },
        about="A hint, not a proof: authz usage anomalies has the keys and the reasons.",
    ),
    Panel(
        "Share of judged hours that are unusual",
        "percentunit",
        {
            "": f"sum (increase(authz_admin_anomaly_found_total{where()}[1d]))"
            f" / sum (increase(authz_admin_anomaly_keys_total{where()}[1d]))"
        },
    ),
    Panel(
        "Alarms about keys that the settings name, a day",
        "none",
        {"{{done}}": f"sum by (done) (increase(authz_admin_anomaly_alarms_total{where()}[1d]))"},
        about="held: a rule would have disabled too many keys, and a person has to decide.",
    ),
    Panel(
        "Keys of which a feature is not judged",
        "none",
        {
            "{{feature}} {{cause}}": "max by (feature, cause) "
            f"(authz_admin_anomaly_not_judged{where()}) > 0"
        },
    ),
    Panel(
        "Since the latest hour that was judged",
        "s",
        {"": f"min (authz_admin_anomaly_lag_seconds{where()} > 0)"},
        about="An hour is judged two hours after its end.",
    ),
)

USAGE += (
    Panel(
        "Keys that were reported as leaked, a day",
        "none",
        {"{{done}}": f"sum by (done) (increase(authz_admin_leak_reports_total{where()}[1d]))"},
        about="held: the key still works, and a person has to decide.",
    ),
    Panel(
        "Abuse: refusals of clients that failed too often, and uses of canary keys",
        "cps",
        {
            "blocked clients": rate("authz_checks_total", 'reason="too_many_failures"'),
            "canary keys": rate("authz_authentication_failures_total", 'reason="canary"'),
        },
    ),
    Panel(
        "Changes of keys, a day",
        "none",
        {
            "all": f"max (increase(authz_change_applied_total{where()}[1d]))",
            "{{method}}, over the admin API": "sum by (method) (increase(authz_admin_calls_total"
            + where(f'method=~"{CHANGING}", code="OK"')
            + "[1d]))",
        },
        about="Issued, rotated, changed and ended keys. authz audit list has the kinds.",
    ),
    Panel(
        "Deliveries of new secrets, a day",
        "none",
        {
            "{{result}}": "sum by (result) "
            f"(increase(authz_admin_delivery_secrets_total{where()}[1d]))",
            "waiting now": f"max (authz_admin_delivery_pending{where()})",
            "undecided": f"max (authz_admin_delivery_undecided{where()})",
            "due and held": f"max (authz_admin_rotation_held{where()})",
        },
    ),
    Panel(
        "Events for receivers",
        "cps",
        {"{{result}}": rate("authz_admin_event_sent_total", by="result")},
    ),
    Panel(
        "Age of the oldest event that a receiver lacks",
        "s",
        {"": f"max (authz_admin_event_lag_seconds{where()})"},
    ),
)

DASHBOARDS = {"executive": EXECUTIVE, "on-call": ON_CALL, "debug": DEBUG, "usage": USAGE}


def dashboard(name: str, panels: tuple[Panel, ...]) -> dict[str, Any]:
    """Return the JSON model that Grafana imports."""
    return {
        "uid": f"authz-{name}",
        "title": f"authz: {name.replace('-', ' ')}",
        "tags": ["authz"],
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "links": [{"type": "dashboards", "tags": ["authz"], "title": "authz", "asDropdown": True}],
        "templating": {"list": [_SOURCE_VARIABLE, _JOB_VARIABLE]},
        "panels": _placed(panels),
    }


_SOURCE_VARIABLE = {"name": "datasource", "type": "datasource", "query": "prometheus"}
_JOB_VARIABLE = {
    "name": "job",
    "type": "query",
    "datasource": SOURCE,
    "query": {"query": "label_values(authz_build_info, job)", "refId": "job"},
    "refresh": 2,
    "multi": True,
    "includeAll": True,
    "allValue": ".+",
    "current": {"text": "All", "value": "$__all"},
}


def _placed(panels: tuple[Panel, ...]) -> list[dict[str, Any]]:
    """Place panels side by side in rows. A row is as high as its first panel."""
    made, x, y, height = [], 0, 0, 0
    for number, panel in enumerate(panels, 1):
        if x + panel.width > COLUMNS:
            x, y, height = 0, y + height, 0
        height = height or (4 if panel.kind == "stat" else 8)
        place = {"x": x, "y": y, "w": panel.width, "h": height}
        made.append({"id": number, "gridPos": place} | _shown(panel))
        x += panel.width
    return made


def _shown(panel: Panel) -> dict[str, Any]:
    form = panel.kind if panel.kind in {"heatmap", "table"} else "time_series"
    targets = [
        {"refId": ref, "expr": expr, "legendFormat": legend, "format": form}
        | ({"instant": True} if panel.kind in {"stat", "table", "bargauge"} else {})
        for ref, (legend, expr) in zip(ascii_uppercase, panel.queries.items(), strict=False)
    ]
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": SOURCE,
        "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
        "options": OPTIONS[panel.kind],
        "targets": targets,
    }


def files() -> dict[str, str]:
    """Return the text of each file by its name."""
    return {
        f"{name}.json": json.dumps(dashboard(name, panels), indent=2) + "\n"
        for name, panels in DASHBOARDS.items()
    }


if __name__ == "__main__":
    for file_name, text in files().items():
        Path(__file__).with_name(file_name).write_text(text)
