"""`authz keys import` of what Kong, Unkey and LiteLLM export."""

import base64
import hashlib
import json

import pytest

from authz.cli.import_fields import FIELDS
from tests.support.cli.importing import FOREIGN, stored
from tests.support.cli.terminal import run
from tests.support.real import Valkey
from tests.support.storage.stored import kids as stored_kids

SHA = hashlib.sha256(FOREIGN.encode())


def records(valkey: Valkey) -> list[dict]:
    """Return all keys of the store."""
    kids = stored_kids(valkey.admin)
    return [run("keys", "show", kid, "--json").document for kid in kids]


KONG = """\
_format_version: "3.0"
consumers:
- username: acme
  custom_id: "17"
  tags: [gold]
  acls:
  - group: readers
  jwt_secrets:
  - key: another
  plugins:
  - name: rate-limiting
    config: {minute: 5, hour: null, policy: local}
  - name: cors
  keyauth_credentials:
  - key: kong-key-0123456789
    id: 4b9a3c62
    created_at: 1700000000
    ttl: 0
  - key: short
  - key: kong-key-0123456788
    created_at: 1700000000
    ttl: 60
- custom_id: "18"
acls:
- consumer: acme
  group: writers
keyauth_credentials:
- consumer: "18"
  key: kong-key-0123456787
"""


def test_kong(importing, valkey: Valkey) -> None:
    """Consumers become clients, groups scopes, rate limits limits, and a time to live an end."""
    outcome = importing(KONG.encode(), "--json")
    assert outcome.code == 1
    assert outcome.err.splitlines() == [
        f"line 19: key: has to be {FIELDS['key']}",
        "1 with jwt_secrets of Kong, which are no API keys",
        "1 with the plugin cors of Kong, which is left out",
    ]
    assert [row["line"] for row in outcome.document["rows"]] == [15, 19, 20, 28]
    of_client = (key for key in records(valkey) if key["client_id"] == "acme")
    first, second = sorted(of_client, key=lambda key: key["expires_at"] is not None)
    assert (first["scopes"], first["limits"][0]["limit"]) == (["readers", "writers"], 5)
    assert first["metadata"] == {
        "kong.tags": "gold",
        "kong.custom_id": "17",
        "source_id": "4b9a3c62",
    }
    assert (first["created_at"], first["expires_at"]) == ("2023-11-14T22:13:20.000Z", None)
    assert second["expires_at"] == "2023-11-14T22:14:20.000Z"
    assert stored(valkey) == 3


def test_kong_names_a_consumer_by_an_object(importing, valkey: Valkey) -> None:
    """A group or a credential outside of its consumer names it by a text or by an object."""
    text = f"""\
consumers:
- username: acme
acls:
- consumer: {{username: acme}}
  group: writers
keyauth_credentials:
- consumer: {{username: acme}}
  key: {FOREIGN}
"""
    assert importing(text.encode()).code == 0
    [key] = records(valkey)
    assert (key["client_id"], key["scopes"]) == ("acme", ["writers"])


def test_kong_names_a_consumer_by_its_id(importing, valkey: Valkey) -> None:
    """In an export of Kong's database, all parts stand beside their consumer and name its id."""
    text = f"""\
consumers:
- id: 1b2d7f3e-2f0c-4d8e-9a52-0a7d2ac0b6f1
  username: acme
- id: 77c1a7de-6c3f-4a0e-8a44-5f1d1f0f9a10
  custom_id: "18"
acls:
- consumer: 1b2d7f3e-2f0c-4d8e-9a52-0a7d2ac0b6f1
  group: writers
plugins:
- name: rate-limiting
  consumer: {{id: 1b2d7f3e-2f0c-4d8e-9a52-0a7d2ac0b6f1}}
  config: {{minute: 5}}
- name: rate-limiting
  config: {{minute: 7}}
keyauth_credentials:
- consumer: 1b2d7f3e-2f0c-4d8e-9a52-0a7d2ac0b6f1
  key: {FOREIGN}
- consumer: 77c1a7de-6c3f-4a0e-8a44-5f1d1f0f9a10
  key: kong-key-0123456784
"""
    assert importing(text.encode()).code == 0
    first, second = sorted(records(valkey), key=lambda key: key["client_id"], reverse=True)
    assert (first["client_id"], first["scopes"]) == ("acme", ["writers"])
    assert [limit["limit"] for limit in first["limits"]] == [5]
    assert (second["client_id"], second["scopes"], second["limits"]) == ("18", [], [])


def test_kong_with_a_list_in_place_of_a_name(importing) -> None:
    """A credential whose consumer or group is no name is refused, and the others are imported."""
    text = f"""\
consumers:
- username: [a]
  keyauth_credentials: [{{key: kong-key-0123456781}}]
- username: b
  acls: [{{group: [c]}}]
  keyauth_credentials: [{{key: kong-key-0123456782}}]
- username: d
  keyauth_credentials: [{{key: {FOREIGN}}}]
keyauth_credentials:
- consumer: [e]
  key: kong-key-0123456783
"""
    outcome = importing(text.encode(), "--json")
    assert [row["outcome"] for row in outcome.document["rows"]] == [
        "refused",
        "refused",
        "imported",
        "refused",
    ]


def test_a_life_without_a_beginning(importing) -> None:
    """A time to live whose beginning is not known is refused, not forgotten."""
    text = f"consumers:\n- username: a\n  keyauth_credentials:\n  - {{key: {FOREIGN}, ttl: 60}}\n"
    assert "line 4: expires_at: has to be a time" in importing(text.encode()).err


UNKEY = {
    "keyId": "key_1",
    "start": "sk-0",
    "hash": base64.b64encode(SHA.digest()).decode(),
    "name": "web",
    "enabled": False,
    "createdAt": 1_700_000_000_000,
    "expires": 1_900_000_000_000,
    "permissions": ["models:read", {"name": "models:list"}],
    "roles": ["admin"],
    "meta": {"seats": 3},
    "identity": {"externalId": "user_7"},
    "ratelimits": [{"name": "api", "limit": 10, "duration": 60_000}],
}


@pytest.mark.parametrize("wrapped", [False, True])
def test_unkey(importing, valkey: Valkey, wrapped) -> None:
    """An Unkey list gives keys by their hashes."""
    document = {"keys": [UNKEY], "total": 1} if wrapped else [UNKEY]
    outcome = importing(json.dumps(document, indent=1 if wrapped else None).encode())
    assert (outcome.code, outcome.err) == (0, "")
    [key] = records(valkey)
    assert (key["client_id"], key["name"], key["status"]) == ("user_7", "web", "disabled")
    assert key["scopes"] == ["models:list", "models:read"]
    assert (key["limits"][0]["limit"], key["limits"][0]["per"]) == (10, "min")
    assert key["metadata"] == {"seats": "3", "roles": "admin", "source_id": "key_1"}
    assert key["expires_at"] == "2030-03-17T17:46:40.000Z"


def test_unkey_without_a_secret(importing) -> None:
    """An entry with neither key nor hash is refused; so is a rate without a counterpart."""
    bad = [UNKEY | {"hash": None}, UNKEY | {"ratelimits": [{"limit": 1, "duration": 7}]}]
    told = importing(json.dumps(bad).encode()).err.splitlines()
    assert told[0].startswith("entry 1: hash: is needed")
    assert told[1].startswith("entry 2: ratelimit: has a duration")


@pytest.mark.parametrize(
    ("member", "field"),
    [
        ({"ratelimits": [1]}, "ratelimit"),
        ({"ratelimits": [{"limit": 1, "duration": [1000]}]}, "ratelimit"),
        ({"environment": ["live"]}, None),
    ],
)
def test_unkey_with_a_wrong_type(importing, member, field) -> None:
    """A rate of a wrong type refuses its entry. An unknown environment, of any type, is `live`."""
    outcome = importing(json.dumps([UNKEY | member]).encode(), "--json")
    [row] = outcome.document["rows"]
    assert (row["outcome"], row.get("field")) == ("refused" if field else "imported", field)


@pytest.mark.parametrize("old", [True, False])
def test_unkey_credits(importing, valkey: Valkey, old) -> None:
    """Remaining credits of both versions are enforced. A key without any becomes disabled."""

    def key(number: int, left: int | None, **refill: object) -> dict[str, object]:
        digest = base64.b64encode(hashlib.sha256(b"%d" % number).digest()).decode()
        item = UNKEY | {"hash": digest, "enabled": True, "name": str(number), "ratelimits": []}
        return item | ({"remaining": left} if old else {"credits": {"remaining": left}}) | refill

    refill = {"refill": {"interval": "monthly", "amount": 9}}
    document = {"keys": [key(1, 500), key(2, 0), key(3, None), key(4, 7, **refill)]}
    outcome = importing(json.dumps(document).encode())
    assert outcome.code == 0
    assert outcome.err.splitlines() == [
        "1 with credits that refill by themselves, kept in the metadata and not refilled",
        "1 with no credits left, disabled",
    ]
    found = {one["name"]: one for one in records(valkey)}
    limits = {name: [row["limit"] for row in one["limits"]] for name, one in found.items()}
    assert limits == {"1": [500], "2": [], "3": [], "4": [7]}
    assert [found[name]["status"] for name in "1234"] == ["active", "disabled", "active", "active"]
    assert found["4"]["metadata"]["unkey.refill.interval"] == "monthly"


def test_unkey_credits_beside_a_null(importing, valkey: Valkey) -> None:
    """A null of the older version hides no credits: the key would have no limit."""
    given = UNKEY | {"remaining": None, "refill": None, "credits": {"remaining": 5}}
    assert importing(json.dumps({"keys": [given | {"ratelimits": []}]}).encode()).code == 0
    assert [row["limit"] for row in records(valkey)[0]["limits"]] == [5]


def test_litellm(importing, valkey: Valkey) -> None:
    """The token of a virtual key is its hash. Settings without a counterpart are told."""
    key = {
        "token": SHA.hexdigest(),
        "key_name": "sk-...cdef",
        "key_alias": "batch",
        "user_id": "default_user",
        "team_id": "team/1",
        "models": ["gpt-4o", "openai/o3"],
        "rpm_limit": 60,
        "tpm_limit": 1000,
        "blocked": True,
        "expires": "2030-01-01T00:00:00+00:00",
        "created_at": "2024-01-01T00:00:00.123000Z",
        "metadata": {"tags": ["a", "b"]},
    }
    outcome = importing(json.dumps({"keys": [key], "total_count": 1}).encode())
    assert outcome.code == 0
    assert outcome.err == "1 with tpm_limit, kept in the metadata and not enforced\n"
    [found] = records(valkey)
    assert (found["client_id"], found["project_id"]) == ("default_user", "team/1")
    assert found["scopes"] == ["models:gpt-4o:*", "models:openai/o3:*"]
    assert found["metadata"] == {"tags.0": "a", "tags.1": "b", "litellm.tpm_limit": "1000"}
    assert (found["status"], found["limits"][0]["per"]) == ("disabled", "min")
