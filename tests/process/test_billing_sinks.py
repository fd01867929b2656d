"""The pace of receivers of billing records: pauses between tries, and calls at once."""

import asyncio
import json
from collections import Counter
from urllib.parse import parse_qs

import pytest

from authz.core.errors import Unavailable
from authz.core.usage.billing.record import BillingRecord
from authz.process.billing_sinks import RepeatedPost
from authz.process.stripe import AT_ONCE, StripeMeter
from authz.process.web_client import WebClient, WebResponse
from tests.support.cli.billing_receivers import Receiver, listening


class Server:
    """A WebClient whose requests get these answers, one after the other; None: no response."""

    def __init__(self, *answers: WebResponse | None) -> None:
        self.answers = list(answers)

    async def send(self, *_request, **_more) -> WebResponse:
        """Return the next answer."""
        answer = self.answers.pop(0)
        if answer is None:
            raise Unavailable("no response")
        return answer


async def pauses(*answers: WebResponse | None) -> tuple[WebResponse, list[float]]:
    """Return the response to a post that gets these answers, and the pauses before its tries."""
    waited: list[float] = []

    async def wait(seconds: float) -> None:
        waited.append(seconds)

    return await RepeatedPost(Server(*answers), wait).send("https://a", b"", {}), waited


async def test_pauses_grow_and_follow_the_receiver():
    """A receiver may ask for a longer pause than ours, up to a minute, and for no shorter one."""
    busy = [WebResponse(429, b"", seconds) for seconds in (0, 1, 5, 99_999)]
    response, waited = await pauses(*busy, WebResponse(204, b""))
    assert (response.status, waited) == (204, [1.0, 2.0, 5, 60.0])


async def test_the_fifth_failure_is_the_last():
    """The fifth status is returned, and the fifth missing response raises Unavailable."""
    response, waited = await pauses(None, *[WebResponse(503, b"")] * 4)
    assert (response.status, len(waited)) == (503, 4)
    with pytest.raises(Unavailable):
        await pauses(*[None] * 5)


@pytest.mark.parametrize("status", [400, 401, 404, 413, 302])
async def test_a_refusal_is_not_repeated(status):
    """A status that does not pass is returned at once."""
    response, waited = await pauses(WebResponse(status, b"", 5))
    assert (response.status, waited) == (status, [])


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("7", 7), ("", 0), ("-7", 0), ("7.5", 0), ("123456", 0), ("Wed, 21 Oct 2026 07:28:00 GMT", 0)],
)
async def test_retry_after(text, seconds):
    """The seconds of `Retry-After` are read. A date and other text count as none."""
    receiver = Receiver()
    receiver.answer = lambda *_request: (429, {"Retry-After": text}, b"")
    with listening(receiver):
        response = await WebClient().send("POST", receiver.url, body=b"", headers={})
    assert (response.status, response.retry_after) == (429, seconds)


class Crowd:
    """A RepeatedPost that answers as Stripe does, and counts the calls that run at once."""

    def __init__(self) -> None:
        self.running: Counter[str] = Counter()
        self.most = self.most_of_one = 0

    async def send(self, _url: str, body: bytes, _headers: dict[str, str]) -> WebResponse:
        """Answer after all other calls that can begin have begun."""
        form = parse_qs(body.decode())
        (customer,) = form["payload[stripe_customer_id]"]
        self.running[customer] += 1
        self.most = max(self.most, self.running.total())
        self.most_of_one = max(self.most_of_one, self.running[customer])
        for _ in range(100):
            await asyncio.sleep(0)
        self.running[customer] -= 1
        return WebResponse(200, json.dumps({"identifier": form["identifier"][0]}).encode())


async def test_stripe_gets_one_call_of_a_customer_at_a_time():
    """Calls of one customer follow each other; those of six customers run at once."""
    crowd = Crowd()
    records = [
        BillingRecord(kid="K" * 16, hour=hour, route="", unit="ok", quantity=1, revision=1,
                      customer=f"cus_{number}")
        for number in range(AT_ONCE + 2)
        for hour in range(3)
    ]  # fmt: skip
    delivery = await StripeMeter(crowd, "event", "key").deliver(records)
    assert delivery.refused == []
    assert (crowd.most, crowd.most_of_one) == (AT_ONCE, 1)
