"""`authz usage anomalies`: a replayed file, and files that are none."""

import json
from pathlib import Path

import pytest

from authz.core.times import rfc3339
from tests.support.cli.in_process import CommandRunner

KID = "A" * 16


def rows(hours: int, last: int) -> str:
    """Return the lines of an export with 60 requests an hour, and `last` in the last one."""
    numbers = [60] * hours + [last]
    return "".join(
        json.dumps(
            {
                "kid": KID,
                "hour": rfc3339(at * 3_600_000).replace(".000", ""),
                "unit": "ok",
                "quantity": number,
            }
        )
        + "\n"
        for at, number in enumerate(numbers)
    )


@pytest.fixture
def runner(tmp_path: Path, valkey, monkeypatch: pytest.MonkeyPatch) -> CommandRunner:
    """An installation."""
    return CommandRunner(tmp_path, valkey, monkeypatch)


def test_replay(runner: CommandRunner, tmp_path: Path):
    """The unusual hour is shown with its reason, and what was not judged."""
    file = tmp_path / "usage.jsonl"
    file.write_text(rows(400, 3000))
    text = runner.run("usage", "anomalies", "--replay", str(file)).out
    assert "rate 3000 (usual 60)" in text
    assert "not judged: networks of 401 hours: no addresses" in text
    found = runner.run("usage", "anomalies", "--replay", str(file), "--json").document
    (key,) = found["keys"]
    assert (key["kid"], key["risk"], key["reasons"][0]["feature"]) == (KID, "elevated", "rate")
    assert found["replay"]["hours"] == 401
    file.write_text(rows(400, 60))
    assert "no key is unusual" in runner.run("usage", "anomalies", "--replay", str(file)).out


def test_nothing_was_judged_yet(runner: CommandRunner):
    """Without a judged hour no key is unusual."""
    assert runner.run("usage", "anomalies").out.strip() == "no key is unusual"


@pytest.mark.parametrize(
    "content", [b"x\n", b"\xff\xfe\n", b"{}\n", b"[" * 100_000, b"a" * (1 << 20) + b"aa", b"\0\n"]
)
def test_other_files(runner: CommandRunner, tmp_path: Path, content: bytes):
    """Another file is a mistake in the option, not a fault."""
    file = tmp_path / "usage.jsonl"
    file.write_bytes(content)
    result = runner.run("usage", "anomalies", "--replay", str(file))
    assert result.code == 2
    assert "--replay" in result.err


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("kid,hour", "not a JSON object"),
        ("[]", "not a JSON object"),
        ('{"kid": "acme"}', "no kid of 16 letters and digits"),
    ],
)
def test_a_line_that_is_no_usage(runner: CommandRunner, tmp_path: Path, line: str, problem: str):
    """The refusal says what is wrong with the line."""
    file = tmp_path / "usage.jsonl"
    file.write_text(f"{line}\n")
    result = runner.run("usage", "anomalies", "--replay", str(file))
    assert result.err.strip() == f"authz: --replay: line 1: {problem}"


def test_other_options(runner: CommandRunner, tmp_path: Path):
    """A missing file, a folder, a time that is too old, and options that do not go together."""
    for options in (
        ("--replay", str(tmp_path / "absent")),
        ("--replay", str(tmp_path)),
        ("--replay", "x", "--since", "1d"),
        ("--since", "36d"),
        ("--since", "yesterday"),
        ("--limit", "501"),
    ):
        result = runner.run("usage", "anomalies", *options)
        assert result.code == 2, options
        assert options[-2] in result.err
