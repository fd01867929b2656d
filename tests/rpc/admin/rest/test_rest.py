"""The admin API over HTTP and JSON, on a real store."""

import json

import pytest

from authz import __version__
from authz.core.roles import Role
from authz.rpc.admin.rest.api import MAX_BODY
from authz.rpc.admin.rest.openapi import RESPONSES
from tests.support.rpc.admin import AdminRig
from tests.support.rpc.rest import Answer, RestClient

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def create(client: RestClient, **fields: object) -> dict[str, object]:
    """Issue a key and return it."""
    answer = await client.send("POST", "/v1/keys", {"clientId": "acme"} | fields)
    assert answer.status == 200, answer
    return answer.body["key"]


def fields_of(answer: Answer) -> list[str]:
    """Return the wrong fields of a 400."""
    assert (answer.status, answer.body["code"]) == (400, "INVALID_ARGUMENT"), answer
    return [each["field"] for each in answer.body["errors"]]


async def test_the_life_of_a_key(client: RestClient) -> None:
    """A key is issued, read, changed, rotated and revoked. Only two responses have its text."""
    made = await client.send("POST", "/v1/keys?note=first", {"client_id": "acme", "ttl": "3600s"})
    name, text = made.body["key"]["name"], made.body["apiKey"]
    assert made.headers["cache-control"] == "no-store"
    got = await client.send("GET", f"/v1/{name}")
    assert got.body["key"]["clientId"] == "acme"
    assert got.headers["etag"] == f'"{got.body["key"]["etag"]}"'
    assert text not in json.dumps(got.body)
    await client.send("PATCH", f"/v1/{name}?updateMask=display_name", {"displayName": "one"})
    listed = await client.send("GET", "/v1/keys?filter=display_name%20%3D%20one&pageSize=5")
    assert [key["name"] for key in listed.body["keys"]] == [name]
    turned = await client.send("POST", f"/v1/{name}:rotate", {"overlap": "0s"})
    assert turned.body["apiKey"] not in {"", text}
    ended = await client.send("POST", f"/v1/{name}:revoke", {"note": "over"})
    assert ended.body["key"]["status"] == "STATUS_REVOKED"
    history = await client.send("GET", f"/v1/{name}/history?page_size=2")
    assert history.body["entries"][0]["note"] == "over"
    assert history.body["nextPageToken"]


async def test_conditions(client: RestClient) -> None:
    """If-Match is the etag of a change, and If-None-Match saves the body of a read."""
    key = await create(client)
    etag, target = f'"{key["etag"]}"', f"/v1/{key['name']}"
    same = await client.send("GET", target, headers={"if-none-match": etag})
    assert (same.status, same.body) == (304, "")
    changed = await client.send("PATCH", target, {"plan": "standard"}, {"if-match": etag})
    assert changed.status == 200
    late = await client.send("PATCH", target, {"plan": "standard"}, {"if-match": etag})
    assert (late.status, late.body["code"]) == (412, "ABORTED")
    late = await client.send("POST", f"{target}:disable", {}, {"if-match": etag})
    assert late.status == 412
    late = await client.send("POST", f"{target}:disable", {"etag": key["etag"]})
    assert late.status == 409
    both = await client.send("POST", f"{target}:disable", {"etag": "1"}, {"if-match": etag})
    assert fields_of(both) == ["etag"]


async def test_a_repeated_request(client: RestClient) -> None:
    """Idempotency-Key makes a repeated request return the same key."""
    headers = {"idempotency-key": "3f1c9e5e-0001"}
    answers = [
        await client.send("POST", "/v1/keys", {"clientId": "acme"}, headers) for _ in range(2)
    ]
    assert answers[0].body["apiKey"] == answers[1].body["apiKey"]
    refused = await client.send("GET", "/v1/keys", headers=headers)
    assert fields_of(refused) == ["idempotency-key"]


async def test_streams_are_lines(client: RestClient) -> None:
    """A stream of outcomes is one line of JSON for each message."""
    names = {(await create(client, tenantId="lines"))["name"] for _ in range(3)}
    body = {"filter": "tenant_id = lines", "disable": {}}
    changed = await client.send("POST", "/v1/keys:change", body)
    assert changed.headers["content-type"] == "application/x-ndjson"
    assert {line["name"] for line in changed.body} == names
    exported = await client.send("GET", "/v1/keys:export?filter=tenant_id%20%3D%20lines")
    assert {line["key"]["name"] for line in exported.body} == names
    refused = await client.send("GET", "/v1/keys:export?filter=nonsense")
    assert fields_of(refused) == ["filter"]


@pytest.mark.parametrize(
    ("target", "body", "fields"),
    [
        ("/v1/keys", {"clientId": "acme", "colour": "red"}, ["key.colour"]),
        ("/v1/keys", {"clientId": "acme", "env": "ENVIRONMENT_MOON"}, ["key.env"]),
        ("/v1/keys", {"clientId": 7}, ["key.clientId"]),
        ("/v1/keys", {"clientId": "acme", "secrets": [{"hue": 1}]}, ["key.secrets.hue"]),
        ("/v1/keys", {"clientId": "a", "ttl": "9s", "neverExpires": True}, ["key"]),
        ("/v1/keys", {"clientId": "a", "limits": [{"spec": 5}]}, ["key.limits.spec"]),
        ("/v1/keys", [], ["body"]),
        ("/v1/keys", b"{", ["body"]),
        ("/v1/keys", b"\xff", ["body"]),
        ("/v1/keys", b'{"clientId": "a", "clientId": "b"}', ["clientId"]),
        ("/v1/keys", b'{"limits": NaN}', ["body"]),
        ("/v1/keys", b"[" * 100_000, ["body"]),
        ("/v1/keys", {"metadata": {"a": {"b": {}}}}, ["key.metadata"]),
        ("/v1/keys?colour=red", {"clientId": "acme"}, ["colour"]),
        ("/v1/keys?validateOnly=maybe", {"clientId": "acme"}, ["validateOnly"]),
        ("/v1/keys?note=a&note=b", {"clientId": "acme"}, ["note"]),
        ("/v1/keys?key.clientId=b", {"clientId": "acme"}, ["key.clientId"]),
        ("/v1/keys?a.b.c=1", {"clientId": "acme"}, ["a.b.c"]),
        ("/v1/keys?=1", {"clientId": "acme"}, ["''"]),
        ("/v1/keys?%00=1", {"clientId": "acme"}, ["'\\x00'"]),
        ("/v1/keys:verify?path=/", {}, ["path"]),
    ],
)
async def test_wrong_requests(
    client: RestClient, target: str, body: object, fields: list[str]
) -> None:
    """A request that is not understood is refused, and the wrong field is named."""
    assert fields_of(await client.send("POST", target, body)) == fields


async def test_wrong_forms(client: RestClient) -> None:
    """Other methods, paths, types and sizes have statuses of their own."""
    answer = await client.send("DELETE", "/v1/whoami")
    assert (answer.status, answer.headers["allow"]) == (405, "GET")
    for path in ("/v1/nothing", "/v1", "/v2/keys"):
        assert (await client.send("GET", path)).body["code"] == "NOT_FOUND", path
    assert fields_of(await client.send("GET", "/v1/keys/a%0ab/latestUse")) == ["name"]
    assert (await client.send("POST", "/v1/keys", b"x" * (MAX_BODY + 1))).status == 413
    assert (await client.send("GET", "/v1/" + "x" * 3000)).status == 414
    form = {"content-type": "application/x-www-form-urlencoded"}
    assert fields_of(await client.send("POST", "/v1/keys", b"a=b", form)) == ["content-type"]
    assert fields_of(await client.send("GET", "/v1/whoami", {})) == ["body"]


async def test_credentials(rig: AdminRig, nobody: RestClient) -> None:
    """Nobody and a stranger get 401, a narrow role gets 403, and ids are sent back."""
    answer = await nobody.send("GET", "/v1/keys", headers={"x-request-id": "abc.1"})
    assert (answer.status, answer.headers["www-authenticate"]) == (401, 'Bearer realm="authz"')
    assert answer.headers["x-request-id"] == "abc.1"
    assert answer.headers["content-type"] == "application/problem+json"
    stranger = RestClient(rig.process.http, "sk-nothing-of-ours")
    assert (await stranger.send("GET", "/v1/keys")).body == answer.body
    _, text = await rig.issue([Role.VIEWER.scope], tenant_id="one")
    viewer = RestClient(rig.process.http, text)
    refused = await viewer.send("POST", "/v1/keys", {"clientId": "acme"})
    assert (refused.status, refused.body["reason"]) == (403, "ACTION_NOT_PERMITTED")


async def test_keys_of_other_tenants_do_not_exist(rig: AdminRig, client: RestClient) -> None:
    """A key of another tenant is answered as a key that nobody ever made."""
    foreign = await create(client, tenantId="two")
    _, text = await rig.issue([Role.ADMIN.scope], tenant_id="one")
    narrow = RestClient(rig.process.http, text)
    seen = [
        await narrow.send("GET", f"/v1/{name}")
        for name in (foreign["name"], "keys/7Hk2mQ9xT4bVzR1c")
    ]
    assert [answer.status for answer in seen] == [404, 404]
    kid = foreign["name"].removeprefix("keys/")
    assert json.dumps(seen[0].body).replace(kid, "K") == json.dumps(seen[1].body).replace(
        "7Hk2mQ9xT4bVzR1c", "K"
    )


async def test_the_document_and_the_page(nobody: RestClient) -> None:
    """The OpenAPI document is complete, its references exist, and the page shows every method."""
    document = (await nobody.send("GET", "/openapi.json")).body
    assert (document["openapi"], document["info"]["version"]) == ("3.1.0", __version__)
    text = json.dumps(document)
    wanted = {part.partition('"')[0] for part in text.split('"$ref": "#/components/')[1:]}
    have = {f"{kind}/{name}" for kind, all_ in document["components"].items() for name in all_}
    assert wanted <= have
    page = await nobody.send("GET", "/docs")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert '<th scope="col"></th>' not in page.body
    for path, verbs in document["paths"].items():
        assert path in page.body
        for operation in verbs.values():
            assert operation["description"], path
            name = operation["operationId"]
            assert f'<section id="{name}"><h3>{name} <code>' in page.body
            assert set(RESPONSES) < set(operation["responses"])
    for name, schema in document["components"]["schemas"].items():
        for member, value in schema.get("properties", {}).items():
            assert name == "Problem" or value.get("description") or "$ref" in value, (name, member)
    assert (
        (await nobody.send("GET", "/docs/style.css")).headers["content-type"].startswith("text/css")
    )
