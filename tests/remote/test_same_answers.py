"""Commands over the admin API print what they print over the store, and exit with the same code."""

import json
import re
import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from authz.core.tokens.signing_keys import AT_ONCE_MS
from tests.remote.test_transcripts import OverApi
from tests.support.cli.terminal import Outcome, run
from tests.support.real import Valkey
from tests.support.rpc.admin_command import URI

# Each line is a command. {1} is the first kid that was printed, {2} the second.
SCRIPTS = {
    "lists": """
        keys issue --client a --name shop-1 --metadata team=core --metadata area=eu
        keys issue --client a --name shop-2 --project web --expires-in 1h --scope m:r --scope a:*
        keys issue --client b --tenant north --plan standard --env test --expires-in never
        keys issue --client b --credits 50 --outage-grace 5s --not-before 2d --expires-in 9d
        keys disable {2} --note unpaid
        keys list
        keys list --json --all
        keys list --client a --limit 1 --columns kid,name,metadata,scopes,created
        keys list --status active --status disabled --json
        keys list --project '' --json
        keys list --name 'shop-*' --sort -created --columns kid,status,version
        keys list --sort expires --limit 2
        keys list --metadata team=core --env live
        keys list --expires-before 2h --created-before 0
        keys list --columns kid,credits,credits-left,last-used,requests-30d --json
        keys list --plan standard --tenant north
        keys list --unused-for 1d
        keys list --client nobody
        keys list --limit 0
        keys show {1} --json
        keys show {4}
        keys show {3} --json
    """,
    "changes": """
        keys issue --client a --limit 5/s --credits 100
        keys update {1} --credits +50 --note 'invoice 1'
        keys update {1} --limit 7/s,burst=3 --json
        keys update {1} --credits 20
        keys update {1} --credits none --json
        keys update {1} --credits +5
        keys update {1} --budget 25/month
        keys update {1} --budget +10/month --json
        keys limits {1} --json
        keys refund {1} --budget 1/month
        keys refund {1} --budget 1/month,of=bread
        keys update {1} --clear limit
        keys update {1} --add-scope a:b --add-scope c:d --remove-scope e:f
        keys update {1} --remove-scope a:b --metadata a=1 --metadata b=2 --host api.example.com
        keys update {1} --expires-at never --outage-grace 30s --origin https://a.example.com
        keys update {1} --clear metadata --clear outage-grace --expires-in 2d --on-outage deny
        keys update {1} --expires-at 2001-01-01T00:00:00Z
        keys update {1} --plan nonsense
        keys update {1} --not-before 3d
        keys update {1} --client other --tenant north --name 'a "quoted" name'
        keys history {1}
        keys history {1} --json
        keys rotate {1} --grace 1h --json
        keys retire {1} --secret 9
        keys retire {1} --secret old
        keys retire {1} --secret new
        keys rollback {1}
        keys reset-limits {1} --json
        keys limits {1} --json
        keys revoke {1} --reason leaked --wait --timeout 1s --json
        keys update {1} --name x
        keys retire {1} --secret old
        keys delete {1} --wait --timeout 0
        keys show {1}
        keys delete {1}
        keys delete 7Hk2mQ9xT4bVzR1c --force --json
    """,
    "many": """
        keys issue --client a
        keys issue --client a --project web
        keys issue --client b
        keys issue --client b --credits 5
        keys update --client a --plan standard --dry-run
        keys update --client a --plan standard --yes
        keys update --where plan=standard --add-scope x:y --yes --json
        keys update --where client=a --expires-in 3d --dry-run --json
        keys update --where client=b --credits +5 --yes
        keys update --where client=b --credits +5 --yes --json
        keys update --where client=b --limit 3/s --yes --wait
        keys disable --client b --yes --wait --timeout 1s
        keys disable --client b --yes --json
        keys enable --where client=b --yes
        keys enable --client b --status disabled --dry-run
        keys enable --client b --status disabled --yes --json --note 'paid'
        keys rotate --client a --yes
        keys rotate --client a --dry-run
        keys rotate --client a --secrets-to ./secrets --yes --json
        keys rotate --client a --secrets-to ./secrets --yes
        keys delete --client a --yes
        keys revoke --client a --project '' --yes --json
        keys revoke --client a --yes --wait --json
        keys delete --client a --dry-run
        keys delete --client a --yes
        keys purge --revoked-for 0 --yes
        keys delete --client b --force --yes --json
        keys list --all
    """,
    "files": """
        keys issue --client a --name one --metadata team=core --limit 5/s
        keys issue --client b --expires-in never --scope a:b
        keys revoke {2}
        keys export
        keys export --client a --no-versions
        keys export --status revoked --json
        sidecars
        sidecars --json
        abuse list
        abuse allow 203.0.113.0/24
        abuse allow 203.0.113.0/24 --json
        abuse allow 2001:db8::/32 --remove --json
        abuse allow 203.0.113.7/24
        abuse clear 203.0.113.7 --json
        abuse clear --all
        abuse allow 203.0.113.0/24 --remove --json
        abuse list --json
        usage
        usage --key {1} --json
        usage --client a --by hour --csv
        usage --by status
        usage --by model
        usage --client a --by model --json
        usage --client a --by status
        usage --key 7Hk2mQ9xT4bVzR1c
        usage top
        usage top --month this
        usage top --by denied --since 1h --json
        usage anomalies
        usage anomalies --since 3d --limit 7 --json
        usage erase --key {1} --note 'asked for'
    """,
    "apply": """
        diff -f new.yaml
        diff -f new.yaml --json
        apply -f new.yaml
        apply -f new.yaml --dry-run
        apply -f new.yaml --secrets-to ./secrets --no-write --json --note 'commit 1'
        apply -f new.yaml
        keys list --columns kid,status,client,name,plan,limits,scopes,metadata
        keys history {2} --json
        keys update {1} --name 'by hand'
        keys export
        diff -f edited.yaml
        apply -f edited.yaml
        keys update {1} --plan pro
        diff -f edited.yaml
        keys export --client a
        diff -f conflict.yaml --json
        apply -f conflict.yaml
        apply -f conflict.yaml --overwrite --json
        diff -f conflict.yaml
        keys issue --client a --name late
        diff -f conflict.yaml --prune
        apply -f all.yaml --prune --dry-run
        apply -f all.yaml --prune --yes
        apply -f all.yaml --prune --yes --prune-many --json
        keys list --all --columns kid,status,name
        apply -f plans.yaml --dry-run --json
        apply -f unknown.yaml
        keys delete {2} --force
        apply -f edited.yaml --no-write
    """,
    "trail": """
        keys issue --client a --name one
        keys issue --client b
        keys disable {1} --note unpaid
        keys update {2} --name two --limit 5/s
        usage erase --key {1}
        keys revoke {2}
        audit list
        audit list --action update --json --limit 2
        audit list --client a
        audit list --action revoke --json
        audit list --kid {1} --since 1h
        audit list --actor nobody
        audit list --until 2001-01-01T00:00:00Z
        audit list --action nonsense
    """,
    "due": """
        keys issue --client a --plan standard
        keys issue --client b
        keys issue --client 'c' --plan pro
        keys disable {3}
        keys due
        keys due --within 100d
        keys due --within 100d --json
        keys due --within 0
        keys due --within nonsense
        keys due --deliveries
        keys due --deliveries --json
    """,
    "events": """
        keys issue --client a --project web --tenant north --expires-in 9d
        keys issue --client b
        keys update {1} --name one --limit 5/s --note 'a reason'
        keys rotate {1} --grace 1h
        keys revoke {2} --reason leaked
        events list
        events list --json
        events list --type authz.key.rev* --json
        events list --kid {1} --limit 2
        events list --type none
        events dead
        events dead --sink siem
        events replay --all
        events replay --sink siem --all
        events replay 4-0-0123456789ab
        events replay --sink a nonsense
    """,
    "tokens": """
        keys issue --client a --scope a:b --scope c:d --out a.key
        tokens keys list
        tokens issue < a.key
        tokens keys rotate
        wait
        tokens keys list
        tokens keys list --json
        tokens issue --scope a:b --lifetime 60s --json < a.key
        tokens inspect < token.txt
        tokens inspect --json < token.txt
        tokens issue --scope x:y < a.key
        tokens issue --audience nobody < a.key
        tokens issue --lifetime 0 < a.key
        tokens issue < forged.key
        tokens issue < other.key
        tokens inspect < other.key
        keys revoke {1}
        tokens issue < a.key
        tokens inspect --json < token.txt
        keys delete {1}
        tokens inspect < token.txt
        tokens keys rotate --now --json
        tokens keys list
        tokens keys remove nonsense
        tokens keys remove {2}
        tokens keys list
        audit list
        audit list --action remove_signing_key --json
        audit list --action rotate_signing_key
    """,
    "import": """
        keys import --dry-run < keys.jsonl
        keys import --rejects rejects.jsonl --note 'from the old gateway' < keys.jsonl
        keys import < keys.jsonl
        keys list --sort name --columns status,env,client,name,plan,limits,expires,scopes,metadata
        keys list --sort client --columns status,client,created --status revoked
        keys verify < first.key
        keys revoke --key-stdin --reason leaked < first.key
        keys revoke --key-stdin < other.key
        keys import < keys.jsonl
        audit list --action import
    """,
    "stdin": """
        keys issue --client a --scope a:b --cidr 10.0.0.0/8 --limit 2/s --out a.key
        keys issue --client b --expires-in 1ms --out b.key
        keys verify < a.key
        keys verify --ip 10.0.0.1 --scope a:b --cost 3 --json < a.key
        keys verify --ip 10.0.0.1 --env test --path /v1/x --method POST < a.key
        keys verify --ip 10.0.0.1 --host api.example.com --origin https://a.example.com < a.key
        keys verify < b.key
        keys verify < cut.key
        keys verify --json < other.key
        keys verify < forged.key
        keys revoke --key-stdin < forged.key
        keys revoke --key-stdin < cut.key
        keys revoke --key-stdin < short.key
        keys revoke --key-stdin --reason leaked < a.key
        keys verify --ip 10.0.0.1 < a.key
    """,
    "publishable": """
        keys issue --client a --public
        keys issue --client a --public --origin https://a.example.com --out a.key
        keys show {1} --json
        keys list --columns kid,public,limits
        keys issue --client a --canary --out c.key
        keys list --kind publishable --json
        keys list --kind canary --json
        keys list --kind secret --json
        keys disable --where kind=publishable --dry-run
        keys update {1} --clear origin
        keys update {1} --clear limit
        keys verify --origin https://a.example.com < a.key
        keys verify --origin https://a.example.com --public --json < a.key
        keys rotate {1} --out b.key
        keys verify --origin https://a.example.com --public < b.key
        keys export
        diff -f public.yaml
    """,
}
SIGNS_AFTER = AT_ONCE_MS / 1000 + 1  # also for a server that reads the keys every second
MISSING = "7Hk2mQ9xT4bVzR1c"
FIRST = "{ref: one, client: a, name: first, plan: standard, limits: [5/s], metadata: {team: web}}"
SECOND = "{ref: two, client: a, env: test, status: disabled, scopes: ['m:r'], outage_grace: 5s}"
FORGED = f"ak_live_7Hk2mQ9xT4bVzR1c_1{'A' * 60}"
STDIN = {
    "cut.key": FORGED[:40],
    "forged.key": FORGED,
    "other.key": "sk-0123456789abcdef",
    "short.key": "short",
    "public.yaml": "keys: [{ref: p, client: a, public: true, origins: ['https://a.example.com']}]",
    "new.yaml": f"keys: [{FIRST}, {SECOND}]",
    "edited.yaml": f"keys: [{FIRST.replace('5/s', '7/s')}, {SECOND.replace('disabled', 'active')}]",
    "conflict.yaml": f"scope: {{client: a}}\nkeys: [{FIRST.replace('standard', 'basic')}]",
    "all.yaml": f"scope: {{client: a}}\nas_of: 100\nkeys: [{SECOND}]",
    "plans.yaml": f"plans: {{pro: ['10/s']}}\nkeys: [{FIRST.replace('standard', 'pro')}]",
    "unknown.yaml": "keys: [{ref: three, client: a, plan: gold}]",
    "first.key": "sk-first-0123456789",
    "keys.jsonl": "\n".join(
        map(
            json.dumps,
            (
                {"key": "sk-first-0123456789", "client": "a", "limit": ["10/d"], "name": "k1"},
                {"key": "short", "client": "a"},
                {
                    "sha256": "ab" * 32,
                    "client": "b",
                    "name": "k3",
                    "scope": ["m:r"],
                    "expires_in": "2d",
                },
                {"key": "sk-third-0123456789", "client": "b", "plan": "pro", "name": "k4"},
                {"key": "sk-fourth-0123456789", "client": "b", "plan": "nonsense"},
                {"key": "sk-fifth-0123456789", "client": "c", "status": "revoked", "name": "k5"},
                {
                    "key": "sk-sixth-0123456789",
                    "client": "d",
                    "name": "k6",
                    "created_at": "2024-12-01T00:00:00Z",
                    "expires_at": "2025-12-01T00:00:00Z",
                    "metadata": {"team": "core"},
                },
                {"key": "sk-first-0123456789", "client": "other"},
                {"key": "ak_live_0123456789", "client": "a"},
                {
                    "key": "sk-seventh-0123456789",
                    "client": "e",
                    "created_at": "2999-01-01T00:00:00Z",
                },
                {
                    "key": "sk-eighth-0123456789",
                    "client": "e",
                    "not_before": "2d",
                    "expires_in": "1d",
                },
            ),
        )
    ),
}
TOKEN = re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]+")
KID = re.compile(r"\b[0-9A-Za-z]{16}\b")
SAME = (
    (re.compile(r"\b[a-z]+_(live|test)_[0-9A-Za-z]{16}_[0-9A-Za-z]{61}\b"), "KEY"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"), "TIME"),
    (re.compile(r'"source": "[^"]*", "request_id": "[^"]*"'), "ORIGIN"),
    # A call of the API has both; a command has none.
    (re.compile(r', "address": "[^"]*", "request_id": "[^"]*"'), ""),
    (re.compile(r"\b\d+-\d+-[0-9a-f]{12}\b"), "EVENT"),
    (TOKEN, "TOKEN"),
    (re.compile(r"\b1[0-9A-Za-z]{26}\b"), "TOKEN ID"),
    (re.compile(r"\b1\d{9}\b"), "SECONDS"),
    (re.compile(r"\b1\d{12}\b"), "MILLISECONDS"),
    (re.compile(r"in \d+ ms|\"elapsed_ms\": \d+"), "ELAPSED"),
    (re.compile(r"--cursor [\w-]+"), "CURSOR"),
    # The server does not say how many keys it looked at for others.
    (re.compile(r"\"cost\": \{[^}]*\}"), "COST"),
)


class Session:
    """Runs the commands of a script, and tells what they printed in a form without ids."""

    def __init__(self, act: Callable[..., Outcome]) -> None:
        self._act = act
        self.kids: list[str] = []

    def told(self, script: str) -> Iterator[str]:
        """Run each command, and yield its output and its exit code."""
        for line in filter(None, map(str.strip, script.splitlines())):
            if line == "wait":
                time.sleep(SIGNS_AFTER)
                continue
            command = re.sub(r"\{(\d)\}", lambda match: self.kids[int(match[1]) - 1], line)
            command, _, file = command.partition(" < ")
            given = {"stdin": Path(file).read_bytes()} if file else {}
            done = self._act("--config", "authz.yaml", *shlex.split(command), **given)
            text = f"{done.out}--- {done.err}--- {done.code}"
            for token in TOKEN.findall(text):
                Path("token.txt").write_text(token)
            for pattern, word in SAME:
                if word == "KEY":
                    self._notice(text)
                text = pattern.sub(word, text)
            yield f"{line}\n{KID.sub(self._number, text)}"

    def _notice(self, text: str) -> None:
        for found in re.findall(r"issued ([0-9A-Za-z]{16}),", text):
            self.kids.append(found)

    def _number(self, match: re.Match[str]) -> str:
        word = match[0]
        if word not in self.kids and word.lower() != word != MISSING:
            self.kids.append(word)  # of an imported key
        return f"K{self.kids.index(word) + 1}" if word in self.kids else word


def _write_files(directory: Path) -> None:
    for name, text in STDIN.items():
        (directory / name).write_text(text)


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS.keys())
def test_the_answers_are_the_same(
    script: str, empty_store: Path, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store and the API give the same lines, one command after the other."""
    (empty_store / "authz.yaml").write_text(
        "plans: {standard: [10/s, 50/once], pro: [], basic: []}\n"
        "rotation: {plans: {standard: {rotate_every: 2d}}, default: {rotate_every: 90d}}\n"
        "tokens: {issuer: 'https://auth.example.com'}\n"
        "anomalies: {enabled: false}\n"  # only the process of the API would judge hours
    )
    monkeypatch.setenv("AUTHZ_ACTOR", f"cert:{URI}")
    _write_files(empty_store)
    assert run("init").code == 0
    by_store = list(Session(run).told(script))
    secrets = empty_store / "secrets"
    for file in (*empty_store.glob("?.key"), *empty_store.glob("rejects*"), *secrets.glob("*")):
        file.unlink()
    _write_files(empty_store)
    valkey.reset()
    assert run("init", "--new-store", "--yes").code == 0
    with ExitStack() as stack:
        api = OverApi(empty_store, stack)
        for name, value in api.environment.items():
            monkeypatch.setenv(name, value)
        over_api = list(Session(api.run).told(script))
    for told, expected in zip(over_api, by_store, strict=True):
        assert told == expected
    if "--secrets-to" in script:
        assert {file.suffix for file in secrets.iterdir()} == {".key"}
