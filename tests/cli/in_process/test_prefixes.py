"""A changed key prefix: older keys stay valid, and a forgotten older prefix is reported."""

import re

import pytest


def write(runner, text):
    """Write the settings file that commands use."""
    file = runner.directory / "authz.yaml"
    file.write_text(f"keys: {{peppers: [{{file: authz-pepper-1}}], {text}}}\n")
    return f"--config={file}"


@pytest.fixture
def old_key(runner):
    """A key with the default prefix, in a store that knows the prefix."""
    return runner.run("keys", "issue", "--client", "acme").out.strip()


def test_the_store_knows_its_prefix(runner, valkey):
    """`authz init` records the prefix, and the doctor warns about a store without it."""
    assert valkey.admin.hget("authz:meta", "prefix:ak") == "1"
    valkey.admin.hdel("authz:meta", "prefix:ak")
    done = runner.run("doctor")
    assert done.code == 0
    assert re.search("^warn  identity .*`authz init` records it", done.out, re.MULTILINE)
    assert runner.run("init").code == 0
    assert "does not know the prefix" not in runner.run("doctor").out


def test_a_forgotten_older_prefix_is_refused(runner, old_key):
    """Commands make no key that the fleet cannot read, and the doctor fails with the remedy."""
    config = write(runner, "prefix: zz")
    for command in (("init",), ("keys", "issue", "--client", "acme"), ("keys", "list")):
        done = runner.run(*command, config)
        assert (done.code, done.out) == (3, "")
        assert "keys with the prefix ak get 401: add it to keys.older_prefixes" in done.err
    done = runner.run("doctor", config)
    assert done.code == 1
    assert re.search("^fail  identity .*keys.older_prefixes", done.out, re.MULTILINE)


def test_keys_of_an_older_prefix_stay_valid(runner, old_key):
    """An old key is allowed, rotated to the new prefix, and revoked by its text."""
    config = write(runner, "prefix: zz, older_prefixes: [ak]")
    assert runner.run("init", config).code == 0
    assert runner.run("keys", "verify", config, stdin=old_key).code == 0
    issued = runner.run("keys", "issue", "--client", "acme", config).out
    assert issued.startswith("zz_live_")
    assert runner.run("keys", "verify", config, stdin=issued).code == 0
    kid = old_key.split("_")[2]
    rotated = runner.run("keys", "rotate", kid, config).out
    assert rotated.startswith(f"zz_live_{kid}_")
    pasted = f"API_KEY={old_key}"
    assert runner.run("keys", "revoke", "--key-stdin", config, stdin=pasted).code == 0
    assert "identity     initialised" in runner.run("doctor", config).out


def test_an_older_prefix_is_given_up(runner, old_key, valkey):
    """--retire-prefix needs settings without the prefix. Then its keys are unknown."""
    config = write(runner, "prefix: zz, older_prefixes: [ak]")
    runner.run("init", config)
    done = runner.run("init", "--retire-prefix", "ak", config)
    assert done.code == 2
    assert "--retire-prefix: 'ak' is a prefix of keys in the settings" in done.err

    config = write(runner, "prefix: zz")
    assert runner.run("init", "--retire-prefix", "ak", config).code == 0
    assert valkey.admin.hget("authz:meta", "prefix:ak") is None
    assert runner.run("keys", "verify", config, stdin=old_key).code == 1
    assert runner.run("init", "--retire-prefix", "ak", config).code == 1


def test_the_store_knows_the_prefix_of_publishable_keys(runner, valkey):
    """A changed keys.public_prefix is refused; listed as an older prefix the keys stay valid."""
    origin = "https://app.example.com"
    public = runner.run("keys", "issue", "--client", "acme", "--public", "--origin", origin).out
    assert valkey.admin.hget("authz:meta", "public_prefix:pk") == "1"
    valkey.admin.hdel("authz:meta", "public_prefix:pk")
    assert "does not know the prefix" in runner.run("doctor").out
    assert runner.run("init").code == 0

    config = write(runner, "public_prefix: web")
    done = runner.run("keys", "list", config)
    assert done.code == 3
    assert "keys with the prefix pk get 401: add it to keys.older_prefixes" in done.err

    config = write(runner, "public_prefix: web, older_prefixes: [pk]")
    verify = ("keys", "verify", "--public", "--origin", origin)
    assert runner.run("init", config).code == 0
    assert runner.run(*verify, config, stdin=public).code == 0
    issued = runner.run(
        "keys", "issue", "--client", "acme", "--public", "--origin", origin, config
    ).out
    assert issued.startswith("web_live_")
    assert runner.run(*verify, config, stdin=issued).code == 0

    config = write(runner, "public_prefix: web")
    assert runner.run("init", "--retire-prefix", "pk", config).code == 0
    assert valkey.admin.hget("authz:meta", "public_prefix:pk") is None
    assert runner.run(*verify, config, stdin=public).code == 1
