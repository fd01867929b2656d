"""Alerts fire when they should and only then, as promtool evaluates made-up series."""

import os
import re
import subprocess
from dataclasses import dataclass
from math import isnan, nan
from pathlib import Path

import pytest
import yaml

from tests.support.deploy.rules import ALERTS, FILE, OBJECTIVES, RECORDS, program

H = 60  # minutes
DAY = 24 * H
# (minutes, increase per minute), or the value for a gauge; NaN: the series does not exist.
Legs = list[tuple[int, float]]

ALLOWED = 'authz_checks_total{outcome="allowed"}'
UNAVAILABLE = 'authz_checks_total{outcome="unavailable"}'
CHECKS = 'authz_check_duration_seconds_count{cache="miss"}'
WITHIN_50_MS = 'authz_check_duration_seconds_bucket{cache="miss", le="0.05"}'
HITS = 'authz_check_duration_seconds_count{cache="hit"}'
HITS_WITHIN_50_MS = 'authz_check_duration_seconds_bucket{cache="hit", le="0.05"}'
HITS_WITHIN_1_MS = 'authz_check_duration_seconds_bucket{cache="hit", le="0.001"}'
CHANGES = "authz_change_lag_seconds_count{}"
WITHIN_1_S = 'authz_change_lag_seconds_bucket{le="1.0"}'
TRUST, TRUST_AGE = "authz_trust_held{}", "authz_trust_age_seconds{}"
CLOCK = "authz_clock_offset_seconds{}"
RESETS = "authz_change_sequence_resets_total{}"
MISSING = 'authz_authentication_failures_total{reason="missing_credential"}'
FORGED = 'authz_authentication_failures_total{reason="forged"}'
CANARY = 'authz_authentication_failures_total{reason="canary"}'
WITHIN = 'authz_limits_decisions_total{decision="allowed", source="store"}'
OVER = 'authz_limits_decisions_total{decision="denied", source="store"}'
WITHOUT_STORE = 'authz_limits_decisions_total{decision="allowed", source="outage"}'
UP, READY = "up{}", "authz_ready{}"
PROCESSOR = 'process_cpu_time_seconds_total{cpu_mode="user"}'
UNREADABLE = 'authz_key_lookup_failures_total{reason="unreadable"}'
BAD_SEAL = 'authz_key_lookup_failures_total{reason="bad_seal"}'
FAULTS = "authz_check_faults_total{}"
LATE, METER_READY = "authz_meter_lag_seconds{}", "authz_meter_ready{}"
ENTRIES_REFUSED = 'authz_meter_entries_refused_total{cause="fields"}'
ALARMS = 'authz_admin_anomaly_alarms_total{done="noted"}'
HELD = 'authz_admin_anomaly_alarms_total{done="held"}'
LEAKED = 'authz_admin_leak_reports_total{done="revoked"}'
LEAK_HELD = 'authz_admin_leak_reports_total{done="held"}'
UNDONE = 'authz_admin_delivery_secrets_total{result="undone"}'
DEAD = 'authz_admin_event_sent_total{result="dead"}'
APPLIED = "authz_change_applied_total{}"
UNDECIDED = "authz_admin_delivery_undecided{}"
PENDING, DUE_HELD = "authz_admin_delivery_pending{}", "authz_admin_rotation_held{}"
EVENT_LAG = "authz_admin_event_lag_seconds{}"
JUDGED_LAG = "authz_admin_anomaly_lag_seconds{}"
NOT_WRITTEN = 'authz_snapshot_writes_total{result="failed"}'
GAUGES = {
    TRUST,
    TRUST_AGE,
    CLOCK,
    UP,
    READY,
    LATE,
    METER_READY,
    JUDGED_LAG,
    PENDING,
    DUE_HELD,
    EVENT_LAG,
    UNDECIDED,
}

EACH_MINUTE: dict[float, tuple[str, ...]] = {
    1000: (ALLOWED, HITS, HITS_WITHIN_50_MS, WITHIN),
    995: (HITS_WITHIN_1_MS,),
    100: (CHECKS,),
    20: (PROCESSOR,),
    96: (WITHIN_50_MS,),  # the objective allows 5 slow ones in 100
    1: (CHANGES, WITHIN_1_S, TRUST, UP, READY, METER_READY),
    0.2: (TRUST_AGE,),
    9000: (JUDGED_LAG,),
    0: (
        *(UNAVAILABLE, MISSING, FORGED, OVER, WITHOUT_STORE, RESETS, UNREADABLE, FAULTS),
        *(NOT_WRITTEN, CLOCK, LATE, ENTRIES_REFUSED, ALARMS, HELD),
        *(LEAKED, LEAK_HELD, UNDONE, DEAD, PENDING, DUE_HELD, EVENT_LAG),
    ),
}


def well(minutes: int) -> dict[str, Legs]:
    """Return every series for so many minutes, within the objectives."""
    return {name: [(minutes, each)] for each, names in EACH_MINUTE.items() for name in names}


@dataclass(frozen=True)
class Case:
    """Series that differ from `well`, and the minutes at which the alert fires or is quiet."""

    happens: dict[str, Legs]
    fires: tuple[int, ...]
    quiet: tuple[int, ...]


def after(minutes: int, *legs: tuple[int, float], before: float = 0) -> Legs:
    """Return `before` for `minutes`, then `legs`, then `before` for two hours."""
    return [(minutes, before), *legs, (2 * H, before)]


CASES = {
    # 2 % is 20 times the budget; after 45 minutes the mean of an hour exceeds 14.4 times.
    "AuthzChecksUnavailable": Case(
        {UNAVAILABLE: after(6 * H, (H, 20)), ALLOWED: after(6 * H, (H, 980), before=1000)},
        fires=(7 * H - 5, 7 * H),
        quiet=(6 * H, 6 * H + 10, 7 * H + 30),
    ),
    # 0.4 % is 4 times the budget: a ticket, not a page.
    "AuthzChecksUnavailableSlowly": Case(
        {UNAVAILABLE: after(2 * H, (12 * H, 4)), ALLOWED: after(2 * H, (12 * H, 996), before=1000)},
        fires=(14 * H,),
        quiet=(2 * H, 2 * H + 20),
    ),
    "AuthzChecksSlow": Case(
        {HITS_WITHIN_1_MS: after(6 * H, (H, 700), before=995)},
        fires=(7 * H,),
        quiet=(6 * H, 6 * H + 5),
    ),
    "AuthzChecksSlowSlowly": Case(
        {HITS_WITHIN_50_MS: after(2 * H, (12 * H, 850), before=1000)},
        fires=(14 * H,),
        quiet=(2 * H, 2 * H + 20),
    ),
    "AuthzTrustLost": Case(
        {TRUST: after(6 * H, (3, 0), before=1)},
        fires=(6 * H + 4,),
        quiet=(6 * H - 1, 6 * H + 40),
    ),
    "AuthzRevocationsLate": Case(
        {TRUST_AGE: after(H, (1, 29), (1, 31), before=0.2)}, fires=(H + 1,), quiet=(H - 1, H, H + 2)
    ),
    "AuthzChangesSlow": Case(
        {WITHIN_1_S: after(6 * H, (H, 0.5), before=1)}, fires=(7 * H,), quiet=(6 * H,)
    ),
    "AuthzStoreWentBack": Case(
        {RESETS: after(H, (1, 1))}, fires=(H + 2, H + 14), quiet=(H - 1, H + 17)
    ),
    "AuthzClockWrong": Case(
        {CLOCK: after(H, (1, -2), (1, 2), (3, -2))}, fires=(H + 4,), quiet=(H - 1, H + 1, H + 7)
    ),
    "AuthzAuthenticationFailing": Case(
        {MISSING: after(6 * H, (H, 300))}, fires=(7 * H,), quiet=(6 * H, 6 * H + 5)
    ),
    # More than 100 a second for 15 minutes; missing keys do not count.
    "AuthzKeysGuessed": Case(
        {FORGED: after(H, (20, 6600)), MISSING: after(H - 20, (20, 90_000))},
        fires=(H + 15,),
        quiet=(H - 1, H + 5),
    ),
    "AuthzCanaryKeyUsed": Case(
        {CANARY: after(H, (1, 1))}, fires=(H + 2, H + 14), quiet=(H - 1, H + 17)
    ),
    "AuthzQuotaBreaches": Case(
        {OVER: after(6 * H, (H, 4000))}, fires=(7 * H,), quiet=(6 * H, 6 * H + 5)
    ),
    "AuthzLimitsWithoutStore": Case(
        {WITHOUT_STORE: after(H, (20, 5))}, fires=(H + 10,), quiet=(H - 1, H + 3)
    ),
    "AuthzSidecarDown": Case({UP: after(H, (5, 0), before=1)}, fires=(H + 3,), quiet=(H, H + 6)),
    "AuthzNoSidecars": Case(
        {UP: after(H, (20, nan), before=1)}, fires=(H + 12, H + 19), quiet=(H, H + 3, H + 22)
    ),
    # 57 of 60 seconds for more than 10 minutes.
    "AuthzProcessorFull": Case(
        {PROCESSOR: after(H, (30, 57), before=20)},
        fires=(H + 20,),
        quiet=(H, H + 10, H + 45),
    ),
    "AuthzSidecarNotReady": Case(
        {READY: after(H, (5, 0), before=1)}, fires=(H + 4,), quiet=(H, H + 1, H + 6)
    ),
    "AuthzRecordsUnreadable": Case(
        {UNREADABLE: after(H, (1, 1))}, fires=(H + 2, H + 14), quiet=(H - 1, H + 17)
    ),
    "AuthzRecordsBadSeal": Case(
        {BAD_SEAL: after(H, (1, 1))}, fires=(H + 2, H + 14), quiet=(H - 1, H + 17)
    ),
    "AuthzSnapshotFails": Case(
        {NOT_WRITTEN: after(H, (1, 1))}, fires=(H + 2, H + 14), quiet=(H - 1, H + 17)
    ),
    "AuthzUsageLate": Case({LATE: after(H, (5, 90))}, fires=(H + 4,), quiet=(H, H + 1, H + 7)),
    "AuthzMeterNotReady": Case(
        {METER_READY: after(H, (5, 0), before=1)}, fires=(H + 4,), quiet=(H, H + 1, H + 6)
    ),
    "AuthzUsageRefused": Case(
        {ENTRIES_REFUSED: after(H, (1, 1))}, fires=(H + 2, H + 14), quiet=(H - 1, H + 17)
    ),
    "AuthzKeysUnusual": Case(
        {ALARMS: after(H, (1, 1))}, fires=(H + 2, H + 50), quiet=(H - 1, H + 63)
    ),
    "AuthzKeysLeaked": Case(
        {LEAKED: after(H, (1, 1))}, fires=(H + 2, H + 50), quiet=(H - 1, H + 63)
    ),
    "AuthzLeaksHeld": Case(
        {LEAK_HELD: after(H, (1, 1))}, fires=(H + 2, H + 50), quiet=(H - 1, H + 63)
    ),
    "AuthzSecretsPending": Case(
        {PENDING: after(H, (30, 1))}, fires=(H + 20,), quiet=(H - 1, H + 10, H + 35)
    ),
    "AuthzKeysChange": Case(
        {APPLIED: after(6 * H, (20, 200), before=1)},
        fires=(6 * H + 15,),
        quiet=(6 * H - 1, 6 * H + 4, 8 * H - 5),
    ),
    "AuthzSecretsUndecided": Case(
        {UNDECIDED: after(H, (30, 1))}, fires=(H + 10,), quiet=(H - 1, H + 2, H + 35)
    ),
    "AuthzSecretsUndone": Case(
        {UNDONE: after(H, (1, 1))}, fires=(H + 2, H + 50), quiet=(H - 1, H + 63)
    ),
    "AuthzRotationsHeld": Case(
        {DUE_HELD: after(H, (30, 200))}, fires=(H + 15,), quiet=(H - 1, H + 5, H + 35)
    ),
    "AuthzEventsLate": Case(
        {EVENT_LAG: after(H, (30, 400))}, fires=(H + 10,), quiet=(H - 1, H + 2, H + 35)
    ),
    "AuthzEventsGivenUp": Case(
        {DEAD: after(H, (1, 1))}, fires=(H + 2, H + 50), quiet=(H - 1, H + 63)
    ),
    "AuthzRulesHeld": Case({HELD: after(H, (1, 1))}, fires=(H + 2, H + 50), quiet=(H - 1, H + 63)),
    "AuthzAnomaliesLate": Case(
        {JUDGED_LAG: after(H, (15, 20_000), before=9000)}, fires=(H + 13,), quiet=(H, H + 8, H + 17)
    ),
    "AuthzCheckFaults": Case(
        {FAULTS: after(H, (1, 1))}, fires=(H + 2, H + 14), quiet=(H - 1, H + 17)
    ),
}


def written(series: dict[str, Legs]) -> list[dict[str, str]]:
    """Return the series in the notation of promtool: one sample a minute, from one sidecar."""
    made = []
    for name, legs in series.items():
        total, parts = 0.0, []
        for minutes, amount in legs:
            if isnan(amount):
                parts.append(f"_x{minutes}")
            elif name in GAUGES:
                parts.append(f"{amount}x{minutes - 1}")
            else:
                parts.append(f"{total}+{amount}x{minutes - 1}")
                total += amount * minutes
        labelled = name.replace("{", '{job="authz", instance="a:9192", ')
        made.append({"series": labelled.replace(", }", "}"), "values": " ".join(parts)})
    return made


def checked(directory: Path, series: dict[str, Legs], expected: dict[int, dict[str, int]]) -> str:
    """Return the errors of promtool. expected: the number of firing alerts by minute and name."""
    counts = [
        {
            "expr": f'count(ALERTS{{alertname=~"{name}", alertstate="firing"}}) or vector(0)',
            "eval_time": f"{minute}m",
            "exp_samples": [{"labels": "{}", "value": number}],
        }
        for minute, found in expected.items()
        for name, number in found.items()
    ]
    file = directory / "test.yaml"
    test = {"interval": "1m", "input_series": written(series), "promql_expr_test": counts}
    whole = {"rule_files": [str(FILE)], "evaluation_interval": "1m", "tests": [test]}
    file.write_text(yaml.safe_dump(whole))
    command = [program("promtool"), "test", "rules", str(file)]
    less = os.environ | {"GOGC": "800"}  # garbage collection takes a fifth of its time otherwise
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=less)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_the_rules_are_rules() -> None:
    """promtool accepts the rules and finds no duplicate."""
    command = [program("promtool"), "check", "rules", "--lint=all", "--lint-fatal", str(FILE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_nothing_fires_while_all_is_well(tmp_path: Path) -> None:
    """No alert fires in a day with as many slow Checks as the objectives allow."""
    quiet = {minute: {"Authz.*": 0} for minute in (5, H, 6 * H, DAY - 1)}
    assert checked(tmp_path, well(DAY), quiet) == ""


@pytest.mark.parametrize("alert", CASES)
def test_an_alert_fires_when_it_should_and_only_then(alert: str, tmp_path: Path) -> None:
    """The alert fires at the expected minutes and is quiet at the others."""
    case = CASES[alert]
    wanted = {minute: {alert: 1} for minute in case.fires}
    wanted |= {minute: {alert: 0} for minute in case.quiet}
    last = max(wanted) + 1
    assert checked(tmp_path, well(last) | case.happens, wanted) == ""


@pytest.mark.parametrize(("busiest", "number"), [(24, 0), (57, 1)])
def test_each_of_several_processes_has_a_core(busiest: int, number: int, tmp_path: Path) -> None:
    """Four processes that use 40 % of a core each are not busy; one that uses 95 % is."""
    series = well(H)
    for process, seconds in enumerate((24, 24, 24, busiest)):
        label = f'process="{process}"'
        series[PROCESSOR.replace("}", f", {label}}}")] = [(H, seconds)]
        series[READY.replace("}", f"{label}}}")] = [(H, 1)]
    assert checked(tmp_path, series, {H - 1: {"AuthzProcessorFull": number}}) == ""


def test_every_alert_has_a_case() -> None:
    """Each alert has a case in which it fires."""
    assert set(CASES) == set(ALERTS)


@pytest.mark.parametrize("sli", ["decided", "authentication", "quota"])
def test_a_slow_burn_wakes_nobody(sli: str, tmp_path: Path) -> None:
    """Spending the budget four times too fast for half a day makes a ticket, not a page."""
    bad = {"decided": UNAVAILABLE, "authentication": MISSING, "quota": OVER}[sli]
    good = {"decided": ALLOWED, "authentication": ALLOWED, "quota": WITHIN}[sli]
    budget = round(4 * (1 - OBJECTIVES[sli]) * 1000)
    events = 1000 if bad is MISSING else 1000 - budget
    series = well(12 * H) | {bad: [(12 * H, budget)], good: [(12 * H, events)]}
    pages = "|".join(name for name, rule in ALERTS.items() if rule["labels"]["severity"] == "page")
    assert checked(tmp_path, series, {12 * H - 1: {pages: 0, "Authz.*": 1}}) == ""


# The share of a 30-day budget that is spent when the alert fires.
SPENT = {"fast": {0.02, 0.05}, "slow": {0.1}}
LENGTHS = {"m": 1, "h": H, "d": DAY}


def minutes(window: str) -> int:
    """Return a window in minutes."""
    return int(window[:-1]) * LENGTHS[window[-1]]


@pytest.mark.parametrize("burn", SPENT)
def test_the_windows_are_those_of_the_workbook(burn: str) -> None:
    """Factor times window is 2, 5 or 10 % of the budget; the short window is a twelfth."""
    (rule,) = (rule for rule in RECORDS if rule["record"] == f"authz:sli_burn:{burn}")
    looks = re.findall(r'window="(\w+)"} > ([\d.]+)', rule["expr"])
    pairs = list(zip(looks[::2], looks[1::2], strict=True))

    assert len(pairs) == 2
    for (long, factor), (short, same) in pairs:
        assert factor == same
        assert minutes(long) == 12 * minutes(short)
    assert {round(float(f) * minutes(w) / (30 * DAY), 4) for (w, f), _ in pairs} == SPENT[burn]


def test_a_window_has_the_length_of_its_label() -> None:
    """Both sides of the ratio use the window of the label."""
    ratios = {
        rule["labels"]["window"]: set(re.findall(r"rate5m\[(\w+)\]", rule["expr"]))
        for rule in RECORDS
        if rule["record"] == "authz:sli_error:ratio"
    }
    assert ratios.pop("5m") == set()  # recorded from the 5 m rates
    assert ratios == {window: {window} for window in ratios}
    assert set(ratios) == {"30m", "1h", "2h", "6h", "1d", "3d"}


@pytest.mark.parametrize(
    ("factor", "length", "pages"),
    [(14, H, False), (15.5, H, True), (5.7, 6 * H, False), (6.3, 6 * H, True)],
)
def test_a_page_comes_at_its_factor_and_not_before(
    factor: float, length: int, pages: bool, tmp_path: Path
) -> None:
    """A page fires only if the failures exceed its factor for its window."""
    bad = factor * (1 - OBJECTIVES["decided"]) * 1000
    begin = 6 * H
    series = {
        UNAVAILABLE: after(begin, (length, bad)),
        ALLOWED: [(begin + length + 2 * H, 1000 - bad)],
    }
    expected = {begin + length: {"AuthzChecksUnavailable": int(pages)}}
    assert checked(tmp_path, well(begin + length + 1) | series, expected) == ""
