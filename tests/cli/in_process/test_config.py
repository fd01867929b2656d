"""The warnings of `authz config check`."""

import json

import pytest
import yaml

ROWS = {
    "events.sinks.siem.types": "no event has the type 'authz.key.foo'",
    "events.sinks.siem.secret_file": "authz admin` needs it to start",
    "rotation.plans.partner": "plans has no partner",
    "rotation.targets.hook.secret_file": "cannot be read",
    "rotation.targets.machine.directory": "is not a directory here",
    "rotation.targets.vault.token_file": "is not a file here",
}


@pytest.fixture
def check(runner):
    """A function that checks settings."""

    def act(settings, *options):
        (runner.directory / "authz.yaml").write_text(yaml.safe_dump(settings))
        return runner.run("--config", "authz.yaml", "config", "check", *options)

    return act


def settings(file, directory, plan, kind):
    """Settings of which each part can work or not."""
    hook = {"kind": "webhook", "url": "https://example.com", "secret_file": file}
    targets = {
        "hook": hook,
        "machine": {"kind": "directory", "directory": directory},
        "vault": {"kind": "vault", "url": "https://vault.example.com", "token_file": file},
    }
    return {
        "plans": {"gold": ["10/s"]},
        "events": {"sinks": {"siem": hook | {"types": ["authz.key.*", kind]}}},
        "rotation": {"plans": {plan: {"rotate_every": "90d"}}, "targets": targets},
    }


def test_settings_that_cannot_work(check):
    """Each is a warning on stderr, or a member with --json, and the exit code stays 0."""
    doubtful = settings("missing", "nowhere", "partner", "authz.key.foo")
    done = check(doubtful)
    assert (done.code, done.out.startswith("the settings are valid, version ")) == (0, True)
    lines = done.err.splitlines()
    assert len(lines) == len(ROWS)
    for setting, problem in ROWS.items():
        (line,) = [each for each in lines if each.startswith(f"warning: {setting}: ")]
        assert problem in line
    done = check(doubtful, "--json")
    document = json.loads(done.out)
    assert (done.code, done.err, document["ok"]) == (0, "", True)
    assert {one["setting"] for one in document["warnings"]} == set(ROWS)


def test_settings_that_work(check, runner):
    """Nothing is told about settings that can work."""
    (runner.directory / "secret").write_text("whsec_" + "QUFB" * 10)
    (runner.directory / "keys").mkdir()
    for kind in ("authz.key.revoked", "authz.*", "*"):
        done = check(settings("secret", "keys", "gold", kind), "--json")
        assert json.loads(done.out)["warnings"] == [], done.out
