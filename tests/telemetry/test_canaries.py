"""No telemetry contains a key, wherever a client writes it."""

import base64
from urllib.parse import quote

import pytest

from tests.support.fakes import make_keyring
from tests.support.real import eventually
from tests.support.rpc.messages import check_request
from tests.support.telemetry.receiver import Receiver
from tests.support.telemetry.sidecar import ReportingSidecar

FOREIGN = "sk-proj-T3BlbkFJ0123456789abcdefGHIJ"  # as keys of another make look


def canaries(sidecar: ReportingSidecar) -> dict[str, str]:
    """Return keys of each kind: good, forged, with another kid, cut off, imported."""
    return {
        "good": sidecar.key,
        "forged": make_keyring().mint("live").text,
        "wrong": sidecar.key[:-1] + ("0" if sidecar.key[-1] != "0" else "1"),
        "cut": sidecar.key[:60],
        "of a test": make_keyring().mint("test").text,
        "foreign": FOREIGN,
    }


def secret_of(key: str) -> str:
    """Return the secret part of a key: all after the kid."""
    return key if key == FOREIGN else key.split("_", 3)[3]


def hostile(key: str) -> list[bytes]:
    """Yield requests with a key in each place that a client can write to."""
    places = ["x-api-key", "authorization", "cookie", "user-agent", "x-request-id", "content-type"]
    places += ["origin", "referer", "traceparent", "tracestate", "x-forwarded-for", ":authority"]
    made = [check_request([(place, value)]) for place in places for value in (key, f"Bearer {key}")]
    made += [check_request([(key.lower(), key)]), check_request([("x-api-key", key)] * 2)]
    made += [
        check_request([("x-api-key", key)], raw_headers=True),
        check_request([("x-api-key", key)], path=f"/v1?api_key={key}&x={quote(key)}"),
        check_request([("x-api-key", f"{key},{key}")]),
        check_request(host=key),
        check_request(path=f"/{key}/../{key}"),
        check_request(method=key),
        check_request(peer=key),
    ]
    good = [message.SerializeToString() for message in made]
    return [*good, key.encode(), good[0][:-3], base64.b64encode(good[0])]


@pytest.mark.parametrize("kind", ["good", "forged", "wrong", "cut", "of a test", "foreign"])
async def test_a_key_comes_out_nowhere(
    sidecar: ReportingSidecar, receiver: Receiver, kind: str
) -> None:
    """No log line, metric or span contains a part of a secret."""
    key = canaries(sidecar)[kind]
    for number, raw in enumerate(hostile(key)):
        sidecar.ask(raw, f"00-{number + 1:032x}-{1:016x}-01")
    await eventually(
        lambda: any(int(span["traceId"], 16) == number + 1 for span in receiver.spans())
    )

    sent = b"".join(body for _, body in receiver.received).decode("latin-1")
    said = [sidecar.log(), sidecar.page(), str(sidecar.process.look()), sent]
    secret = secret_of(key)
    for text in said:
        for part in (secret, secret.lower(), secret[:24], quote(secret)):
            assert part not in text
    assert "denied" in sidecar.log()
