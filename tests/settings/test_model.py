"""Settings: sources, precedence and refusals."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from authz.core.errors import BadInput
from authz.core.listen_address import Address
from authz.settings import sources
from authz.settings.model import load
from tests.support.settings import (
    beside,
    refusal,
    settings_names,
    tree_of,
    value_of,
    variable_of,
    written,
)

EXAMPLE = Path(__file__).parents[2] / "deploy" / "authz.example.yaml"


# For every setting: what is wrong, and the good value that the refusal shows.
GARBAGE = {
    "check.listen": ("nonsense", "127.0.0.1:9191"),
    "check.transport": ("udp", "grpcio"),
    "check.deadline": ("50", "50ms"),
    "check.socket_mode": ("rw-rw----", "0660"),
    "check.tls.cert": ("", "/etc/authz/pepper-1"),
    "check.tls.key": ("a\nb", "/etc/authz/pepper-1"),
    "check.tls.client_ca": ("~nobody-has-this-name/ca", "/etc/authz/pepper-1"),
    "check.allow_plaintext": ("perhaps", "true"),
    "check.max_streams": ("many", "100000"),
    "check.max_header_bytes": ("16k", "100000"),
    "check.max_message_bytes": ("1.5", "100000"),
    "check.idle_timeout": ("2d", "1d"),
    "check.flood_tolerance": ("lots", "0.5"),
    "check.recycle_at_mib": ("much", "100000"),
    "check.env": ("production", "live"),
    "check.enforce": ("perhaps", "false"),
    "ops.listen": ("unix:", "unix:/run/authz.sock"),
    "ops.health_listen": ("0.0.0.0", "127.0.0.1:9191"),
    "ops.socket_mode": ("rw-rw----", "0660"),
    "shutdown.delay": ("5", "30s"),
    "redis.url": ("http://127.0.0.1", "redis://127.0.0.1:6379/0"),
    "redis.username": ("two\nlines", None),
    "redis.namespace": ("a:b", "staging"),
    "redis.password_file": ("", "/etc/authz/pepper-1"),
    "redis.cluster": ("maybe", "true"),
    "redis.partitions": ("64", None),
    "redis.tls.ca": ("", "/etc/authz/pepper-1"),
    "redis.tls.cert": ("", "/etc/authz/pepper-1"),
    "redis.tls.key": ("a\nb", "/etc/authz/pepper-1"),
    "redis.sentinel.hosts": ("10.0.0.1:26379", None),
    "redis.sentinel.service": ("a b", "mymaster"),
    "cache.snapshot": ("", "/etc/authz/pepper-1"),
    "keys.prefix": ("A_", "ak"),
    "keys.older_prefixes": ("A_", None),
    "keys.imported_prefixes": ("a b", None),
    "keys.public_prefix": ("P_", "ak"),
    "keys.peppers": ("authz-pepper-1", None),
    "keys.import_lookups": ("0", None),
    "keys.imported_index": ("-1", None),
    "keys.require_seals": ("maybe", "true"),
    "fleet.sidecars": ("-1", None),
    "cache.ttl": ("0", "1s"),
    "cache.negative_ttl": ("1 s", "30s"),
    "cache.max_entries": ("many", "100000"),
    "cache.max_negatives": ("1.5", "100000"),
    "cache.trust_lease": ("61s", "60s"),
    "identity.header_prefix": ("X-Auth-", "x-auth-"),
    "identity.assertion_issuer": ("two words", "api"),
    "identity.budget_remaining": ("maybe", "true"),
    "extract.headers": ("x-api-key", '["x-api-key"]'),
    "extract.query": ("a&b", "api_key"),
    "extract.client_address": ("x-forwarded-for", "x-envoy-external-address"),
    "outage.grace": ("soon", "30s"),
    "log.level": ("loud", "INFO"),
    "admin.listen": ("nonsense", "127.0.0.1:9191"),
    "admin.http_listen": ("unix:", "unix:/run/authz.sock"),
    "admin.socket_mode": ("0999", "0660"),
    "admin.tls.cert": ("", "/etc/authz/pepper-1"),
    "admin.tls.key": ("a\nb", "/etc/authz/pepper-1"),
    "admin.tls.client_ca": ("~nobody-has-this-name/ca", "/etc/authz/pepper-1"),
    "admin.calls_per_second": ("many", "100000"),
    "admin.console.enabled": ("perhaps", "true"),
    "admin.console.url": ("https://keys.example.com/console", "https://keys.example.com"),
    "admin.console.gateway": ("api.example.com", "http://127.0.0.1:4318"),
    "admin.console.idle": ("1s", "1d"),
    "admin.console.session": ("1s", "7d"),
    "admin.console.login.client_id": ("two\nlines", None),
    "admin.console.login.client_secret": ("", "/etc/authz/pepper-1"),
    "admin.console.login.scopes": ("openid", None),
    "admin.console.login.session": ("1s", "1d"),
    "admin.oidc.issuer": ("idp.example.com", "http://127.0.0.1:4318"),
    "admin.oidc.audience": ("two\nlines", None),
    "admin.oidc.subject_claim": ("e mail", "groups"),
    "admin.oidc.roles_claim": ("", "groups"),
    "admin.oidc.roles": ("admin", None),
    "admin.oidc.jwks_url": ("ftp://idp.example.com", "http://127.0.0.1:4318"),
    "admin.oidc.ca": ("", "/etc/authz/pepper-1"),
    "admin.oidc.clock_skew": ("1h", "300s"),
    "admin.oidc.keys_grace": ("1s", "1d"),
    "admin.certificates": ("spiffe://a/b", None),
    "admin.self_service": ("read", None),
    "tokens.issuer": ("ftp://auth.example.com", "https://auth.example.com"),
    "tokens.audiences": ("a b", None),
    "tokens.lifetime": ("16m", "900s"),
    "tokens.signatures_per_second": ("0", None),
    "events.source": ("two\nlines", None),
    "events.allowed_networks": ("10.0.0.1/8", None),
    "events.sinks": ("siem", None),
    "rotation.plans": ("90d", None),
    "rotation.default.rotate_every": ("1h", "1d"),
    "rotation.default.remind": ("14d", None),
    "rotation.default.retire_after": ("1m", "1h"),
    "rotation.default.to": ("no target", None),
    "rotation.default.overlap": ("31d", "1d"),
    "rotation.targets": ("vault", None),
    "rotation.allowed_networks": ("10.0.0.1/8", None),
    "rotation.max_per_hour": ("-1", None),
    "abuse.failures_per_minute": ("-1", "0"),
    "abuse.block": ("1s", "10s"),
    "anomalies.enabled": ("perhaps", "true"),
    "anomalies.alarms.keys": ("short", None),
    "anomalies.alarms.clients": ("a b", None),
    "anomalies.alarms.projects": ("a b", None),
    "anomalies.alarms.tenants": ("a b", None),
    "anomalies.alarms.plans": ("a b", None),
    "anomalies.alarms.within": ("a b", None),
    "anomalies.disable": ("stolen", None),
    "anomalies.rotate": ("stolen", None),
    "anomalies.throttle": ("stolen", None),
    "anomalies.max_per_hour": ("-1", None),
    "leaks.github": ("perhaps", "true"),
    "leaks.secret_file": ("", "/etc/authz/pepper-1"),
    "leaks.live": ("end", "rotate"),
    "leaks.test": ("nothing", "notify"),
    "leaks.rotate_overlap": ("8d", "7d"),
    "leaks.max_per_hour": ("-1", None),
    "meter.listen": ("nonsense", "127.0.0.1:9191"),
    "meter.ops_listen": ("unix:", "unix:/run/authz.sock"),
    "meter.socket_mode": ("0999", "0660"),
    "meter.tls.cert": ("", "/etc/authz/pepper-1"),
    "meter.tls.key": ("a\nb", "/etc/authz/pepper-1"),
    "meter.tls.client_ca": ("~nobody-has-this-name/ca", "/etc/authz/pepper-1"),
    "meter.token_file": ("", "/etc/authz/pepper-1"),
    "meter.allow_plaintext": ("perhaps", "true"),
    "meter.max_message_bytes": ("64k", "100000"),
    "meter.max_waiting_mib": ("much", None),
    "meter.commit_interval": ("0", "10ms"),
    "meter.drain": ("1h", "5m"),
    "meter.pepper_fingerprint": ("1:" + "0" * 32, None),
    "meter.retention.minutes": ("1m", "10m"),
    "meter.retention.hours": ("1d", "3d"),
    "meter.retention.days": ("1d", "30d"),
    "meter.retention.months": ("1d", "60d"),
    "telemetry.metrics": ("perhaps", "true"),
    "telemetry.denials_per_second": ("0", None),
    "telemetry.otlp.endpoint": ("127.0.0.1:4317", "http://127.0.0.1:4318"),
    "telemetry.otlp.interval": ("500ms", "1s"),
    "telemetry.tracing.enabled": ("perhaps", "true"),
    "telemetry.tracing.sample_ratio": ("a half", "0.5"),
    "telemetry.tracing.max_per_second": ("many", "100000"),
    "plans": ("10/s", None),
    "pools.projects": ("[1]", None),
    "pools.tenants": ("10/s", None),
    "limits.on_outage": ("open", "allow"),
    "limits.legacy_headers": ("perhaps", "true"),
    "prices.unknown_model": ("free", "refuse"),
    "prices.versions": ("cheap", None),
    "include": ("keys.yaml", None),
    "routes": ("/v1/models", None),
    "routes_default": ("allow", "authenticate"),
    "routes_case": ("ignore", "insensitive"),
    "routes_suffix": ("ignore", "dropped"),
}


NEEDED = {
    *("check.tls.cert", "check.tls.key", "admin.tls.cert", "admin.tls.key"),
    "admin.console.login.client_id",
    "rotation.default.rotate_every",  # no section without these
    *("rotation.default.remind", "rotation.default.retire_after"),
    *("rotation.default.to", "rotation.default.overlap"),
    *("admin.oidc.issuer", "admin.oidc.audience", "meter.tls.cert", "meter.tls.key"),
}


def test_every_setting_has_a_default() -> None:
    """An empty file is valid."""
    settings = load(None, {}, {})
    assert settings.check.listen == Address("127.0.0.1", 9191)
    assert settings.redis.url == "redis://127.0.0.1:6379/0"
    assert settings.keys.peppers[0].file == Path.cwd() / "authz-pepper-1"


@pytest.mark.parametrize(
    ("flag", "variable", "line", "expected"),
    [
        ("f:1", "e:1", "y:1", "f:1"),
        (None, "e:1", "y:1", "e:1"),
        (None, None, "y:1", "y:1"),
        ("f:1", None, "y:1", "f:1"),
        ("f:1", "e:1", None, "f:1"),
        (None, None, None, "127.0.0.1:9191"),
    ],
)
def test_a_flag_wins_over_the_environment_and_that_over_the_file(
    tmp_path: Path, flag: str | None, variable: str | None, line: str | None, expected: str
) -> None:
    """Every setting has the same precedence of sources."""
    settings = load(
        written(
            tmp_path, yaml.safe_dump(tree_of("check.listen", line) | tree_of("cache.ttl", "2s"))
        ),
        tree_of("check.listen", flag) if flag else {},
        {"AUTHZ_CHECK__LISTEN": variable} if variable else {},
    )
    assert str(settings.check.listen) == expected
    assert settings.cache.ttl == 2.0


def line_of(file: Path, name: str) -> int:
    """Return the line of a setting, or of its unknown section."""
    wanted = "chekc" if name == "chekc.listen" else name.rpartition(".")[2]
    lines = file.read_text().splitlines()
    return next(n for n, line in enumerate(lines, 1) if line.strip().startswith(f"{wanted}:"))


@pytest.mark.parametrize("name", ["chekc.listen", "check.listne", "check.tls.kee", "nothing"])
def test_an_unknown_name_is_refused_at_every_level(tmp_path: Path, name: str) -> None:
    """The error names the setting, its source and the valid names."""
    rest = beside(name)
    file = written(tmp_path, yaml.safe_dump(sources.merged(tree_of(name, "1"), rest)))
    said = [
        (refusal(file), f"(in {file}, line {line_of(file, name)})"),
        (refusal(flags=sources.merged(tree_of(name, "1"), rest)), "(from the command line)"),
        (refusal(flags=rest, environ={variable_of(name): "1"}), f"(from {variable_of(name)})"),
    ]
    for line, where in said:
        assert "no such setting; there are " in line
        assert line.startswith(name if name != "chekc.listen" else "chekc")
        assert line.endswith(where)


def test_every_setting_is_tried_with_garbage() -> None:
    """The table below covers every setting."""
    assert set(GARBAGE) == set(settings_names())


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_is_refused_with_the_name_the_source_and_a_good_value(
    tmp_path: Path, name: str
) -> None:
    """One line tells the remedy, and the good value in it is accepted."""
    bad, good = GARBAGE[name]
    rest = beside(name)
    file = written(tmp_path, yaml.safe_dump(sources.merged(tree_of(name, bad), rest)))
    environ = {variable_of(name): bad}
    for said, where in (
        (refusal(file), f"(in {file}, line {line_of(file, name)})"),
        (
            refusal(written(tmp_path, yaml.safe_dump(rest)), environ=environ),
            f"(from {variable_of(name)})",
        ),
        (refusal(flags=sources.merged(tree_of(name, bad), rest)), "(from the command line)"),
    ):
        assert said.startswith(f"{name}: ")
        assert said.endswith(where)
        if good:
            assert good in said
            load(written(tmp_path, yaml.safe_dump(rest)), {}, {variable_of(name): good})


@pytest.mark.parametrize("name", GARBAGE)
@pytest.mark.parametrize("value", [{"a": 1}, [[]], [None], "\x00", "x" * 100_000, "\udcff"])
def test_no_kind_of_value_gets_past_a_setting(name: str, value: Any) -> None:
    """Values of a wrong type, huge values and invalid bytes give one line."""
    rest = beside(name)
    assert name in refusal(flags=sources.merged(tree_of(name, value), rest))


@given(name=st.sampled_from(settings_names()), text=st.text())
def test_any_text_is_either_taken_or_refused_in_one_line(name: str, text: str) -> None:
    """Any text is accepted, or refused in one line."""
    rest = beside(name)
    try:
        load(None, rest, {variable_of(name): text})
    except BadInput:
        assert refusal(flags=rest, environ={variable_of(name): text}).startswith(name)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("extract: {headers: []}", "a list of at least one"),
        ("extract: {headers: [x-api-key, X-API-Key]}", "two of them are the same"),
        ("extract: {headers: [authorization: Bearer]}", "put it in quotes"),
        ("keys: {peppers: []}", "a list of at least one"),
        ("routes: [" + "{path: /a}, " * 1001 + "]", "at most 1000 items"),
        ("keys: {peppers: [{file: a}, {file: b}]}", "two of them are the same"),
        ("keys: {peppers: [{version: '12', file: a}]}", "keys.peppers.0.version: '12'"),
        ("keys: {peppers: [{version: 1}]}", "keys.peppers.0.file: is needed here"),
        ("keys: {peppers: [a]}", "keys.peppers.0: a section"),
        ("check: {tls: {cert: a}}", "check.tls.key: is needed here"),
        ("check: {tls: a}", "check.tls: a section: names and values"),
        ("check: 127.0.0.1:9191", "check: a section: names and values"),
        ("check: {socket_mode: 0660}", "in quotes, such as '0660'"),
        ("check: {env: no}", "check.env: has to be 'live' or 'test'"),
        ("redis: {username: 2026-01-01}", "redis.username: not one value"),
        ("cache: {max_entries: 99}", "greater than or equal to 100"),
        ("cache: {max_entries: 99999999999999999999}", "less than or equal to 10000000"),
    ],
)
def test_what_yaml_makes_of_a_line_is_not_taken_for_what_was_meant(
    tmp_path: Path, line: str, expected: str
) -> None:
    """YAML types of 0660, `no` and dates are refused; so are incomplete pairs of settings."""
    assert expected in refusal(written(tmp_path, line))


def test_the_address_of_the_store_is_not_shown() -> None:
    """A refused URL is not shown, because it may contain a password."""
    assert "hunter2" not in refusal(environ={"AUTHZ_REDIS__URL": "https://:hunter2@host"})


def test_a_value_may_be_written_the_way_people_write_it(tmp_path: Path) -> None:
    """A version without quotes, a level in lower case and a header in any case are accepted."""
    settings = load(
        written(
            tmp_path,
            "keys: {peppers: [{version: 1, file: a}]}\n"
            "log: {level: debug}\n"
            "check: {socket_mode: '660', allow_plaintext: true}\n"
            "extract: {headers: ['Authorization: ApiKey']}\n",
        ),
        {},
        {},
    )
    assert settings.keys.peppers[0].version == "1"
    assert settings.log.level == "DEBUG"
    assert settings.check.socket_mode == 0o660
    assert settings.check.allow_plaintext
    assert settings.extract.headers == ("authorization:apikey",)


@pytest.mark.parametrize("name", sorted(set(settings_names()) - NEEDED))
def test_null_keeps_the_default(tmp_path: Path, name: str) -> None:
    """A name without a value keeps the default."""
    rest = beside(name)
    with_null = load(written(tmp_path, yaml.safe_dump(tree_of(name, None))), rest, {})
    assert value_of(with_null, name) == value_of(load(written(tmp_path, ""), rest, {}), name)


@pytest.mark.parametrize(
    ("rule", "refused"),
    [
        ({"path": "v1"}, "routes.0.path: 'v1' is not a path template, such as /v1/"),
        ({"path": "/a/../b"}, "routes.0.path: '/a/../b' is not a path template"),
        ({}, "routes.0.path: is needed here"),
        ({"path": "/a", "methods": ["get"]}, "routes.0.methods.0: 'get': a method in upper case"),
        ({"path": "/a", "host": "a b"}, "routes.0.host: 'a b' is not a host, such as"),
        ({"path": "/a", "scopes": "a,b"}, "routes.0.scopes: 'a,b' is not a scope, such as"),
        ({"path": "/a", "auth": "maybe"}, "routes.0.auth: has to be 'required' or 'optional'"),
        ({"path": "/a", "cost": {"estimate": "learned"}}, "routes.0: a learned estimate needs it"),
        (
            {"path": "/a", "cost": {"estimate": "learned", "at_least": 9, "at_most": 8}},
            "routes.0: 9: it is more than at_most",
        ),
        (
            {"path": "/a", "cost": {"estimate": 8, "at_most": 8}},
            "routes.0: at_least and at_most go with `estimate: learned`",
        ),
        (
            {"path": "/a", "cost": {"estimate": "much"}},
            "routes.0.cost.estimate: a whole number, or",
        ),
        (
            {"path": "/a", "charge_once": {"headers": []}},
            "routes.0.charge_once.headers: a list of at least one",
        ),
        (
            {"path": "/a", "charge_once": {"headers": ["A"]}},
            "routes.0.charge_once.headers.0: 'A': lower case",
        ),
        (
            {"path": "/a", "charge_once": {"within": "2d"}},
            "routes.0.charge_once.within: '2d': a duration from 1s to 1d",
        ),
        ({"path": "/a", "cost": {}}, "routes.0: a cost has an estimate, or bytes_out without"),
        (
            {"path": "/a", "cost": {"bytes_out": 5, "model": "m"}},
            "routes.0: a cost has an estimate",
        ),
        ({"path": "/a", "cost": {"bytes_out": -1}}, "routes.0.cost"),
        ({"path": "/a", "cost": {"bytes_out": 4_000_000_001}}, "routes.0.cost"),
        ({"path": "/a", "cost": "-5"}, "routes.0.cost: '-5': a cost is a whole number from 0 to"),
        ({"path": "/a", "cost": "{n}"}, "routes.0: the path has no variable {n}"),
        ({"path": "/a", "scopes": "a:{b}"}, "routes.0: the path has no variable {b}"),
        ({"path": "/{a}/{a}", "scopes": "a:{a}"}, "routes.0: the path has {a} more than once"),
        ({"path": "/{a}" + "x" * 65 + "{b}"}, "routes.0.path: '/{a}xxx"),
        ({"path": "/a", "enforce": "maybe"}, "routes.0.enforce: true or false"),
        (
            {"path": "/a", "assertion": "two words"},
            "routes.0.assertion: 'two words': a name or URL",
        ),
        ({"path": "/a", "assertion": "a"}, "routes.0: assertion needs an issuer: set identity."),
        ({"path": "/a", "colour": 5}, "routes.0.colour: no such setting; there are path, name"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(tmp_path: Path, rule: dict, refused: str) -> None:
    """A bad rule is refused when the settings are read."""
    said = refusal(written(tmp_path, yaml.safe_dump({"routes": [rule]})))

    assert said.startswith(refused)


HIDDEN = """\
log:
  level: INFO
routes:
  - path: /v1/**
    scopes: "a"
  - path: /v1/admin
    scopes: "b"
"""


def test_a_rule_that_never_applies_is_refused_by_file_and_line(tmp_path: Path) -> None:
    """An earlier rule takes all its requests, so its scope protects nothing."""
    file = written(tmp_path, HIDDEN)
    expected = "routes.1: routes.0 takes all its requests and asks for something else; "
    assert refusal(file) == f"{expected}put the narrower rule first (in {file}, line 6)"
    assert load(written(tmp_path, HIDDEN.replace('"b"', '"a"')), {}, {}).routes


def test_a_rule_is_refused_by_file_and_line(tmp_path: Path) -> None:
    """A list has no names to look for."""
    file = written(tmp_path, HIDDEN.replace('"b"', '"b:{c}"'))
    assert refusal(file) == f"routes.1: the path has no variable {{c}} (in {file}, line 6)"
    file = written(tmp_path, HIDDEN.replace('"b"', '"b:!"'))
    assert refusal(file).endswith(f"such as models:generate (in {file}, line 7)")


def test_rules_that_differ_by_case_are_the_same_without_it(tmp_path: Path) -> None:
    """Without case they take the same requests; a letter outside ASCII has no sure fold."""
    text = HIDDEN.replace("/v1/**", "/v1/Admin")
    assert len(load(written(tmp_path, text), {}, {}).routes) == 2
    without = written(tmp_path, text + "routes_case: insensitive\n")
    assert refusal(without).startswith("routes.1: routes.0 takes all its requests")
    accented = HIDDEN.replace("/v1/admin", "/caf%C3%89") + "routes_case: insensitive\n"
    assert refusal(written(tmp_path, accented)).startswith(
        "routes.1: '/caf%C3%89': letters outside ASCII"
    )


@pytest.mark.parametrize(
    ("given", "refused"),
    [
        ({"plans": {"a": "10/s"}}, "plans.a: a list of limits, such as [10/s, 1000000/month@15]"),
        ({"plans": {"a": None}}, "plans.a: a list of limits"),
        ({"plans": {"a": [10]}}, "plans.a: a list of limits"),
        ({"plans": {"a": ["ten/s"]}}, "plans.a: 'ten/s' is not a limit, such as 10/s"),
        ({"plans": {"a": ["10/s", "20/s"]}}, "plans.a: two limits are called second"),
        ({"plans": {"a b": ["10/s"]}}, "'plans.a b': 'a b': 1 to 128 of A-Z a-z"),
        ({"pools": {"tenants": {"*": ["0/s"]}}}, "pools.tenants.*: '0/s': a limit is a whole"),
        ({"pools": {"projects": {"**": ["1/s"]}}}, "pools.projects.**: '**': 1 to 128 of"),
        ({"pools": {"clients": {}}}, "pools.clients: no such setting; there are projects, tenants"),
    ],
)
def test_limits_that_make_no_sense_are_refused(tmp_path: Path, given: dict, refused: str) -> None:
    """A bad plan or pool is refused by its name when the settings are read."""
    said = refusal(written(tmp_path, yaml.safe_dump(given)))

    assert said.startswith(refused)


def test_plans_and_pools(tmp_path: Path) -> None:
    """Another source can add a plan, or replace one of the same name."""
    file = written(
        tmp_path,
        """
        plans: {standard: [10/s, 300/min], free: []}
        pools: {projects: {search: [1000/min]}, tenants: {"*": [5/calendar-day]}}
        """,
    )
    settings = load(file, {}, {"AUTHZ_PLANS": '{"free": ["1/min"], "gold": ["99/s"]}'})

    texts = {name: list(map(str, limits)) for name, limits in settings.plans.items()}
    assert texts == {"standard": ["10/s", "300/min"], "free": ["1/min"], "gold": ["99/s"]}
    assert list(map(str, settings.pools.projects["search"])) == ["1000/min"]
    assert list(map(str, settings.pools.tenants["*"])) == ["5/calendar-day"]


def test_a_relative_path_is_relative_to_where_it_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path in a file is relative to the file, any other to the current directory."""
    etc, here = tmp_path / "etc", tmp_path / "here"
    etc.mkdir()
    here.mkdir()
    monkeypatch.chdir(here)
    file = etc / "authz.yaml"
    file.write_text("redis: {password_file: secret}\ncheck: {listen: 'unix:check.sock'}\n")
    found = load(Path("../etc/authz.yaml"), {"ops": {"listen": "unix:ops.sock"}}, {})
    assert found.redis.password_file == etc / "secret"
    assert found.check.listen.path == str(etc / "check.sock")
    assert found.ops.listen.path == str(here / "ops.sock")
    assert found.keys.peppers[0].file == etc / "authz-pepper-1"
    environ = {"AUTHZ_REDIS__PASSWORD_FILE": "other", "AUTHZ_KEYS__PREFIX": "sk"}
    found = load(file, {}, environ)
    assert found.redis.password_file == here / "other"
    assert found.keys.peppers[0].file == etc / "authz-pepper-1"
    absolute = load(None, {}, {"AUTHZ_REDIS__PASSWORD_FILE": "/run/secrets/redis"})
    assert absolute.redis.password_file == Path("/run/secrets/redis")


def test_a_path_may_begin_at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`~` is the home directory."""
    monkeypatch.setenv("HOME", str(tmp_path))
    found = load(None, {}, {"AUTHZ_REDIS__PASSWORD_FILE": "~/redis"})
    assert found.redis.password_file == tmp_path / "redis"


def test_the_example_file_has_every_setting_at_its_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """deploy/authz.example.yaml lists every setting with its default."""
    monkeypatch.chdir(tmp_path)
    text = EXAMPLE.read_text()
    assert load(written(tmp_path, text), {}, {}) == load(None, {}, {})
    example = yaml.safe_load(text)
    for name in settings_names():
        part = example
        for step in name.split(".")[:2]:
            assert step in part, f"{name} is missing in {EXAMPLE.name}"
            part = part[step]


def test_a_route_is_named_by_its_name_or_its_path(tmp_path: Path) -> None:
    """The label of a rule is its name, else the beginning of its path."""
    path = "/v1/" + "a" * 200
    named = {"routes": [{"path": path}, {"path": "/b/{id}", "name": "b"}, {"path": "/{id}"}]}
    rules = [one.rule() for one in load(written(tmp_path, yaml.safe_dump(named)), {}, {}).routes]
    assert [rule.facts.label for rule in rules] == [path[:128], "b", "/{id}"]
    bad = written(tmp_path, yaml.safe_dump({"routes": [{"path": "/a", "name": "a b"}]}))
    assert refusal(bad).startswith("routes.0.name: 'a b'")
