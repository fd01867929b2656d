"""Rules for other secret scanners."""

import importlib.util
import re
import shutil
import subprocess
import tomllib

import pytest
import yaml

from authz.core.keys.keyring import Keyring
from authz.core.keys.pepper import Pepper
from authz.core.keys.scanner_rules import TOOLS, rules_for
from tests.support.deploy.scanners import FILES, texts

KEY = Keyring("ak", [Pepper.expand("1", b"p" * 32)]).mint("live").text
TEXT = f"token = {KEY}\n"


def test_the_shipped_rules_are_current():
    """The files in deploy/scanners are those of the pattern."""
    assert {tool: FILES[tool].read_text() for tool in TOOLS} == texts()


def test_every_prefix_is_in_the_rules():
    """The patterns of all tools find keys of each prefix."""
    gitleaks = tomllib.loads(rules_for("gitleaks", ("ak", "old")))["rules"][0]
    trufflehog = yaml.safe_load(rules_for("trufflehog", ("ak", "old")))["detectors"][0]
    assert gitleaks["keywords"] == trufflehog["keywords"]
    for pattern in (gitleaks["regex"], trufflehog["regex"]["key"]):
        assert re.search(pattern, TEXT)
        assert re.search(pattern, TEXT.replace("ak_", "old_"))
        assert not re.search(pattern, TEXT.replace("ak_", "other_"))


def test_gitleaks_finds_a_key(tmp_path):
    """gitleaks finds a key by the shipped rules, and nothing in a text without one."""
    if (gitleaks := shutil.which("gitleaks")) is None:
        pytest.skip("needs gitleaks: go install github.com/zricethezav/gitleaks/v8@v8.28.0")
    words = (gitleaks, "dir", "--no-banner", "-c", str(FILES["gitleaks"]), str(tmp_path))
    (tmp_path / "a.py").write_text("no key\n")
    assert subprocess.run(words, capture_output=True, check=False).returncode == 0
    (tmp_path / "a.py").write_text(TEXT)
    assert subprocess.run(words, capture_output=True, check=False).returncode == 1


def test_trufflehog_finds_a_key(tmp_path):
    """trufflehog finds a key by the shipped rules."""
    if (trufflehog := shutil.which("trufflehog")) is None:
        pytest.skip("needs trufflehog, from its releases")
    (tmp_path / "a.py").write_text(TEXT)
    words = (trufflehog, "filesystem", "--no-update", "--fail", "--json")
    words += ("--config", str(FILES["trufflehog"]), str(tmp_path))
    assert subprocess.run(words, capture_output=True, check=False).returncode == 183


def test_detect_secrets_finds_a_key(tmp_path):
    """detect-secrets finds a key by the shipped plugin."""
    found = shutil.which("detect-secrets")
    if found is None and importlib.util.find_spec("detect_secrets") is None:
        pytest.skip("needs detect-secrets: pip install detect-secrets")
    (tmp_path / "a.py").write_text(TEXT)
    words = (found or "detect-secrets", "scan", "--all-files", "-p", str(FILES["detect-secrets"]))
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert '"type": "authz API key"' in done.stdout
