"""A bad command line gives one line on stderr and exit code 2, without a store call."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.cli.commands import A_KID as KID
from tests.support.cli.commands import places
from tests.support.cli.terminal import Outcome, execute, run

ISSUE = ("keys", "issue", "--client", "acme-web")

PLACES = places() | {
    "a second word": ISSUE,
    "a second --metadata": (*ISSUE, "--metadata", "team=blue", "--metadata"),
}
GARBAGE = (
    "a\x1b[31m\x00",
    "a\nauthz: all is well",
    "\udcff\udcfe",  # how Python passes bytes on that are not UTF-8
    "a\u202eb",  # from here on right to left
    "x" * 200_000,  # more than Linux lets through in one argument
    "--no-such-option\n",
)


def refusal(outcome: Outcome) -> str:
    """Return the error line of a command with wrong usage."""
    assert outcome.code == 2
    return outcome.error


@pytest.mark.parametrize("place", PLACES)
def test_garbage_is_refused_wherever_it_stands(no_store: Path, place: str) -> None:
    """Control characters, newlines, undecodable bytes and huge texts are refused everywhere."""
    for text in GARBAGE:
        refusal(run(*PLACES[place], f"name={text}" if place.endswith("--metadata") else text))
        assert not list(no_store.iterdir())


@pytest.mark.parametrize(
    "place", ["authz keys issue --client", "authz keys issue --scope", "authz keys show kid"]
)
def test_ten_megabytes_are_refused_in_one_short_line(no_store: Path, place: str) -> None:
    """A caller in the same process can pass huge texts, which are refused in a short line."""
    refusal(run(*PLACES[place], "x" * 10_000_000))


WRONG = [
    ("--client", "", "1 to 128 of A-Z a-z"),
    ("--client", "two words", "1 to 128 of A-Z a-z"),
    ("--client", "a" * 129, "1 to 128 of A-Z a-z"),
    ("--client", "clïent", "1 to 128 of A-Z a-z"),
    ("--project", "", "1 to 128 of A-Z a-z"),
    ("--tenant", "a,b", "1 to 128 of A-Z a-z"),
    ("--name", "a" * 257, "one printable line of at most 256 characters"),
    ("--scope", "a b", "give one scope at a time, such as --scope a --scope b"),
    ("--scope", "a,b", "give one scope at a time, such as --scope a --scope b"),
    ("--scope", "", "is not a scope, such as models:generate"),
    ("--scope", "models:*:read", "is not a scope"),
    ("--scope", "s" * 257, "is not a scope"),
    ("--host", "https://api.example.com", "is not a host, such as api.example.com"),
    ("--host", "api.example.com:443", "is not a host"),
    ("--host", "*", "is not a host"),
    ("--host", "a..b", "is not a host"),
    ("--origin", "https://app.example.com/", "is not an origin, such as https://app"),
    ("--origin", "https://", "is not an origin"),
    ("--cidr", "10.0.0.1/8", "is not an address block: its block is 10.0.0.0/8"),
    ("--cidr", "10.0.0.0/33", "is not an address block"),
    ("--cidr", "localhost", "is not an address block"),
    ("--cidr", "10.0.0.0/" + "9" * 5000, "is not an address block"),
    ("--expires-in", "0", "0 is not a lifetime; for a key without an end, use `never`"),
    ("--expires-in", "soon", "is not a duration, such as 50ms, 30s or 90d"),
    ("--expires-in", "-1d", "is not a duration"),
    ("--expires-in", "1.5d", "is not a duration"),
    ("--expires-in", "1000000d", "is longer than 100 years"),
    ("--expires-in", "", "is not a duration"),
    ("--not-before", "tomorrow", "is not a time, such as 2026-12-01T00:00:00Z, or a duration"),
    ("--not-before", "", "is not a time"),
    ("--not-before", "2026-12-01", "is not a time"),
    ("--not-before", "2026-12-01T00:00:00", "is not a time"),
    ("--not-before", "2026-12-01 00:00:00Z", "is not a time"),
    ("--not-before", "2026-02-30T00:00:00Z", "is not a time"),
    ("--not-before", "2026-12-01T25:00:00Z", "is not a time"),
    ("--not-before", "0000-01-01T00:00:00Z", "is not a time"),
    ("--not-before", "2026-12-01T00:00:00+99:99", "is not a time"),
    ("--not-before", "٢٠٢٦-12-01T00:00:00Z", "is not a time"),
    ("--metadata", "team", "is not name=value"),
    ("--metadata", "=blue", "a name is 1 to 64 of"),
    ("--metadata", "a b=c", "a name is 1 to 64 of"),
    ("--metadata", "team=" + "x" * 257, "one printable line"),
    ("--note", "a" * 257, "one printable line of at most 256 characters"),
    ("--plan", "gold", "'gold' is not a plan of the settings; they define none: add it to `plans`"),
    ("--plan", "two words", "1 to 128 of A-Z a-z"),
    ("--limit", "ten/s", "'ten/s' is not a limit, such as 10/s, 5000/h or 1000000/month@15"),
    ("--limit", "", "is not a limit"),
    (
        "--limit",
        "5/fortnight",
        "'fortnight' is not a period; use one of s, min, h, d, calendar-day, week, month, year",
    ),
    ("--limit", "0/s", "a limit is a whole number from 1 to 1000000000"),
    ("--limit", "-5/s", "a limit is a whole number from 1 to 1000000000"),
    ("--limit", "10/s,burst=0", "a burst is from 1 to 1000000000"),
    ("--limit", "10/month@31", "a month begins on a day that every month has, 1 to 28"),
    ("--limit", "10/calendar-day,zone=Mars", "is not a time zone, such as UTC or Europe/Berlin"),
    ("--on-outage", "open", "'open' is not one of 'local', 'allow', 'deny'"),
    ("--outage-grace", "soon", "is not a duration, such as"),
]


@pytest.mark.parametrize(("option", "text", "expected"), WRONG)
def test_a_value_that_makes_no_sense_is_refused_with_its_option(
    no_store: Path, option: str, text: str, expected: str
) -> None:
    """The line names the option and shows a good value. No store is called."""
    client = () if option == "--client" else ("--client", "acme-web")
    line = refusal(run("keys", "issue", *client, option, text))
    assert option in line
    assert expected in line


def test_too_many_of_anything_are_refused(no_store: Path) -> None:
    """A repeatable option has an upper bound."""
    hosts = [word for n in range(101) for word in ("--host", f"h{n}")]
    assert "at most 100 entries" in refusal(run(*ISSUE, *hosts))
    scopes = [word for n in range(101) for word in ("--scope", f"s{n}")]
    assert "at most 100 scopes" in refusal(run(*ISSUE, *scopes))
    metadata = [word for n in range(33) for word in ("--metadata", f"m{n}=x")]
    assert "at most 32 entries" in refusal(run(*ISSUE, *metadata))
    twice = ("--metadata", "a=1", "--metadata", "a=2")
    assert "'a' is given twice" in refusal(run(*ISSUE, *twice))


def test_bytes_that_are_not_utf8_are_refused_by_a_real_process(no_store: Path) -> None:
    """Arguments of a real process may be any bytes. Those that are not UTF-8 are refused."""
    assert "--name" in refusal(execute(*ISSUE, "--name", b"\xff\xfe"))
    refusal(execute("keys", "show", b"\xff"))
    refusal(execute(b"\xff"))


KEY = "ak_live_7Hk2mQ9xT4bVzR1c_1" + "Zz9" * 20
SECRET = KEY.rpartition("_")[2]


@pytest.mark.parametrize("place", PLACES)
def test_a_key_on_the_command_line_is_refused_and_not_repeated(no_store: Path, place: str) -> None:
    """No part of the secret is repeated, whatever option got the key."""
    for form in (KEY, KEY[:-20], f"see {KEY}", f"name={KEY}", KEY + "\n"):
        line = refusal(run(*PLACES[place], form))
        assert "contains a key" in line
        assert SECRET[:4] not in line


WORDS = st.sampled_from(
    "keys issue show init serve --json --config --redis --client --scope --grace --help -h -- - = a"
    f" {KID}".split(" ")
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(arguments=st.lists(WORDS | st.text(max_size=20), max_size=6))
def test_any_command_line_ends_as_promised(no_store: Path, arguments: list[str]) -> None:
    """Any command line gives an answer, or one line and exit code 2 or 3; never a bug."""
    outcome = run(*arguments)
    assert outcome.code in {0, 2, 3}
    if outcome.code:
        assert outcome.error
    else:
        assert outcome.out
        assert outcome.err == ""


@pytest.mark.parametrize("place", ["before", "between", "after"])
def test_json_changes_nothing_about_errors(no_store: Path, place: str) -> None:
    """With --json an error is still a line on stderr, and stdout stays empty."""
    command = {
        "before": ("--json", "keys", "show", "x"),
        "between": ("keys", "--json", "show", "x"),
        "after": ("keys", "show", "x", "--json"),
    }[place]
    assert refusal(run(*command)) == refusal(run("keys", "show", "x"))


def test_an_empty_command_line_is_answered_with_help(no_store: Path) -> None:
    """`authz` without arguments prints the help."""
    outcome = run()
    assert outcome.code == 0
    assert outcome.out == run("--help").out
    assert "authz keys issue --client acme-web" in outcome.out
    with pytest.raises(json.JSONDecodeError):
        _ = outcome.document


@pytest.mark.parametrize("command", [("serve",), ("envoy", "snippet")])
@pytest.mark.parametrize("count", ["0", "65", "-1", "4.0", "٤", "many"])
def test_a_number_of_processes_is_1_to_64(no_store: Path, command: tuple[str, ...], count: str):
    """No process is started."""
    assert "a number from 1 to 64, such as 4" in refusal(run(*command, "--processes", count))
