"""`authz doctor`: one line for each finding."""

import re

import pytest
import yaml

from tests.support.proxy.faults import ORIGINAL as ENVOY
from tests.support.proxy.retry_faults import TWO_SIDECARS


def test_doctor(runner):
    """Each finding has a line, and a warning is no failure."""
    done = runner.run("doctor")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert all(re.match(r"(ok  |warn|fail)  \S", line) for line in lines)
    document = runner.run("doctor", "--json").document
    assert document["ok"] is True
    assert len(document["findings"]) == len(lines)
    assert document["findings"][0].keys() == {"level", "check", "found", "advice"}


def test_doctor_on_a_store_that_is_gone(runner):
    """Without a store the doctor fails and shows a remedy."""
    done = runner.run("doctor", "--redis", "redis://127.0.0.1:1/0")
    assert done.code == 1
    assert re.search(r"^fail  store .*; check redis.url", done.out, re.MULTILINE)


def test_doctor_on_settings(runner):
    """Unusable settings are a finding like others."""
    done = runner.run("doctor", "--config", "missing.yaml")
    assert done.code == 1
    assert done.out.startswith("fail  settings     --config: missing.yaml: No such file")


def test_doctor_on_a_pepper(runner):
    """A pepper that others can read is a warning, and a missing pepper is a failure.

    Its group may read it: the Kubernetes manifests mount it with mode 0440.
    """
    pepper = runner.directory / "authz-pepper-1"
    pepper.chmod(0o440)
    done = runner.run("doctor")
    assert re.search(r"^ok    pepper 1 .*, mode 0440$", done.out, re.MULTILINE)
    pepper.chmod(0o644)
    done = runner.run("doctor")
    assert done.code == 0
    assert re.search(r"^warn  pepper 1 .*\(mode 0644\); chmod 600", done.out, re.MULTILINE)
    pepper.unlink()
    done = runner.run("doctor")
    assert done.code == 1
    assert re.search(r"^fail  pepper 1 .*No such file", done.out, re.MULTILINE)
    assert re.search(r"^fail  store .*not looked at", done.out, re.MULTILINE)


def test_doctor_on_an_envoy_configuration(runner):
    """With --envoy the doctor reads the file, and the store only with --store."""
    (runner.directory / "envoy.yaml").write_text(ENVOY.read_text())
    done = runner.run("doctor", "--envoy", "envoy.yaml", "--redis", "redis://127.0.0.1:1/0")
    assert (done.code, done.err) == (0, "")
    assert {line.split()[0] for line in done.out.splitlines()} == {"ok"}
    both = runner.run("doctor", "--envoy", "envoy.yaml", "--store").out
    assert "clock" in both
    assert "carriers" in both
    (runner.directory / "authz.yaml").write_text("identity: {header_prefix: x-caller-}\n")
    done = runner.run("doctor", "--envoy", "envoy.yaml", "--config", "authz.yaml")
    assert done.code == 1
    assert re.search(r"^fail  identity .*x-caller-\* of a client", done.out, re.MULTILINE)


def test_doctor_on_no_envoy_configuration(runner):
    """An unusable Envoy file gives one line and exit code 2."""
    done = runner.run("doctor", "--envoy", "missing.yaml")
    assert (done.code, done.out) == (2, "")
    assert done.err == "authz: --envoy: missing.yaml: No such file or directory\n"


def test_doctor_shows_no_control_characters(runner):
    """Control characters of a configuration do not reach the terminal."""
    spoilt = ENVOY.read_text().replace("stat_prefix: ingress", 'stat_prefix: "a\\e[2Jb"')
    (runner.directory / "envoy.yaml").write_text(spoilt)
    assert "\x1b" not in runner.run("doctor", "--envoy", "envoy.yaml").out


def test_doctor_warns_while_refusals_are_not_enforced(runner, monkeypatch, tmp_path):
    """By the setting for all routes, and by rules; a warning is no failure."""
    assert not runner.run("doctor").out.count("enforcement")
    monkeypatch.setenv("AUTHZ_CHECK__ENFORCE", "false")
    routes = '[{"path": "/a", "enforce": false}, {"path": "/b", "enforce": false}]'
    monkeypatch.setenv("AUTHZ_ROUTES", routes)
    done = runner.run("doctor")
    lines = [line for line in done.out.splitlines() if line.startswith("warn  enforcement")]
    assert done.code == 0
    assert "check.enforce is false" in lines[0]
    assert "the route /a and 1 more" in lines[1]


@pytest.mark.parametrize(
    ("settings", "notes"),
    [
        ({}, 0),
        ({"plans": {"free": ["10/min"]}}, 1),
        ({"pools": {"tenants": {"*": ["10/min"]}}}, 1),
        ({"pools": {"projects": {"acme": ["10/min"]}}}, 1),
        (
            {
                "plans": {"free": ["10/min"]},
                "routes": [{"path": "/**", "charge_once": {"headers": ["x-request-id"]}}],
            },
            0,
        ),
    ],
)
def test_doctor_notes_that_a_retry_may_be_charged(settings, notes, runner):
    """Envoy retries, and the settings have limits: a note names `charge_once`. No warning."""
    (runner.directory / "envoy.yaml").write_text(TWO_SIDECARS.read_text())
    (runner.directory / "authz.yaml").write_text(yaml.safe_dump(settings))
    done = runner.run("doctor", "--envoy", "envoy.yaml", "--config", "authz.yaml")
    lines = [line for line in done.out.splitlines() if line.startswith("ok    retries")]
    assert sum("charge_once" in line for line in lines) == notes
    assert {line.split()[0] for line in done.out.splitlines()} == {"ok"}
