"""Answers of a server that nobody should trust: names and texts are checked before use."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from authz.client import AdminError
from authz.core.edits import Delete
from authz.core.errors import OutcomeUnknown, Unavailable, Unreadable
from authz.core.new_keys import KeySpec
from authz.core.usage.counts import Level
from authz.core.usage.question import By, Span
from authz.flows.by import By as Authorship
from authz.flows.verify import Question
from authz.process.clock import SystemClock
from authz.remote import calls
from authz.remote.audit import RemoteAudit
from authz.remote.calls import Calls
from authz.remote.declared_keys import RemoteApplied
from authz.remote.editor import RemoteEditor
from authz.remote.fleet import RemoteSidecars
from authz.remote.reading import RemoteKeys
from authz.remote.records import entry_of, kid_of, new_text_of, record_of
from authz.remote.usage import RemoteUsage
from authz.remote.verification import RemoteVerifier
from authz.rpc.pb.admin.v1 import (
    admin_pb2,
    applied_key_pb2,
    audit_entry_pb2,
    audit_pb2,
    fleet_pb2,
    key_pb2,
    keys_pb2,
    usage_pb2,
)

KID = "7Hk2mQ9xT4bVzR1c"


@pytest.mark.parametrize(
    "name",
    ["", "keys/", "keys/../../etc/passwd", "keys/..", f"keys/{KID}x", "keys/7Hk2mQ9xT4bVzR1\n"],
)
def test_names(name: str) -> None:
    """A name that is no name of a key is refused, because kids become names of files."""
    with pytest.raises(Unavailable):
        kid_of(name)


def test_good_names() -> None:
    """The kid of a key and of its parts is found."""
    assert kid_of(f"keys/{KID}") == kid_of(f"keys/{KID}/limits") == KID


@pytest.mark.parametrize("text", ["", "short", "ak_live_\x1b[2J" + "x" * 60, "x" * 500, "a b" * 20])
def test_texts_of_keys(text: str) -> None:
    """A text with control characters, or of another length, is not printed as a key."""
    with pytest.raises(Unavailable) as caught:
        new_text_of(text)
    assert text not in str(caught.value) or not text


def test_a_key_of_a_newer_version() -> None:
    """A key with a status or a limit that is not known here is told as unreadable."""
    for key in (
        key_pb2.Key(name=f"keys/{KID}", status=9),  # type: ignore[arg-type]
        key_pb2.Key(name=f"keys/{KID}", limits=[key_pb2.Limit(spec="5/fortnight")]),
    ):
        with pytest.raises(Unreadable, match="newer version"):
            record_of(key)


@pytest.mark.parametrize("action", [0, 99])
def test_an_unknown_action(action: Any) -> None:
    """An entry of a newer version is told as unreadable, and is not taken for another action."""
    with pytest.raises(Unreadable, match="entry 7: a newer version"):
        entry_of(audit_entry_pb2.AuditEntry(version=7, action=action))


class Answers:
    """Calls that all have one response."""

    def __init__(self, response: object) -> None:
        self.client: Any = self
        self._response = response

    def __getattr__(self, _name: str) -> Any:
        return self

    async def read(self, _method: object, _request: object) -> Any:
        """Return the response."""
        return self._response

    async def pages(self, _method: object, _request: object) -> Any:
        """Yield the response."""
        yield self._response


async def test_words_of_a_newer_version() -> None:
    """A reason or a finding that is not known here is no bug of this program."""
    question = Question(key="k", method="GET", host="", path="/")
    answers: Any = Answers(keys_pb2.VerifyKeyResponse(reason="too_loud\x1b[2J"))
    with pytest.raises(Unreadable, match=r"sent 'too_loud\\x1b"):
        await RemoteVerifier(answers).verify(question)
    finding = audit_pb2.VerifyAuditTrailResponse.Finding(problem="haunted")
    answers = Answers(audit_pb2.VerifyAuditTrailResponse(findings=[finding]))
    with pytest.raises(Unreadable, match="'haunted'"):
        await RemoteAudit(answers, answers).verify(0, 0, None)


async def test_wrong_values() -> None:
    """A time, a length or a group that cannot be is the server's mistake, not wrong usage."""
    late, long = fleet_pb2.Sidecar(), fleet_pb2.Sidecar()
    late.start_time.seconds, long.silence.seconds = 1 << 60, -1
    answers: Any
    for sidecar in (late, long):
        answers = Answers(fleet_pb2.ListSidecarsResponse(sidecars=[sidecar]))
        with pytest.raises(Unreadable, match="wrong value"):
            await RemoteSidecars(answers).find()
    row = usage_pb2.UsageRow()
    row.start_time.seconds = 1
    report = usage_pb2.UsageReport(rows=[row])
    answers = Answers(usage_pb2.ListUsageResponse(report=report))
    with pytest.raises(Unreadable, match="other groups"):
        await RemoteUsage(answers).of_key(KID, Span(Level.HOUR, range(1, 3)), By.ROUTE)
    entry = audit_entry_pb2.AuditEntry(action=audit_entry_pb2.AuditEntry.ACTION_ISSUE)
    entry.detail["expires_at"] = "soon"
    with pytest.raises(Unreadable, match="wrong value"):
        entry_of(entry)
    entry.detail["expires_at"] = float("nan")
    with pytest.raises(Unreadable, match="wrong value"):
        entry_of(entry)


async def test_another_key() -> None:
    """A record of another key than the one that was asked for is not used."""
    answers: Any = Answers(keys_pb2.GetKeyResponse(key=key_pb2.Key(name=f"keys/{KID}")))
    with pytest.raises(Unreadable, match="another key"):
        await RemoteKeys(answers, SystemClock()).find("0" * 16)
    with pytest.raises(Unreadable, match="another key"):
        await RemoteEditor(answers).change("0" * 16, Delete(), Authorship("ops"))


async def test_an_older_server_is_not_asked_for_a_publishable_key() -> None:
    """A server that does not know the field would make a secret key, and somebody publish it."""
    origins = ("https://app.example.com",)
    spec = KeySpec(client_id="a", env="live", life_ms=None, public=True, allowed_origins=origins)
    answers: Any = Answers(admin_pb2.GetInstallationResponse(key_prefix="ak"))
    with pytest.raises(Unavailable, match="no publishable keys"):
        await RemoteEditor(answers).issue(spec, Authorship("ops"))


async def test_a_list_that_follows_itself() -> None:
    """A page whose token leads to itself ends the list with a fault."""

    async def method(_request: object) -> keys_pb2.ListKeysResponse:
        return keys_pb2.ListKeysResponse(next_page_token="again")

    answers: Any = None
    pages = Calls(answers, "a:1").pages(method, keys_pb2.ListKeysRequest(page_size=1))
    with pytest.raises(Unavailable, match="without an end"):
        assert len([page async for page in pages]) <= 2


@pytest.mark.parametrize("has_keys", [True, False])
async def test_a_list_of_endless_pages(monkeypatch: pytest.MonkeyPatch, has_keys: bool) -> None:
    """A server that sends ever new tokens ends the list with a fault, sooner if pages are empty."""
    monkeypatch.setattr(calls, "MAX_PAGES", 50)
    monkeypatch.setattr(calls, "MAX_EMPTY", 5)
    keys = [key_pb2.Key()] if has_keys else []

    async def method(request: keys_pb2.ListKeysRequest) -> keys_pb2.ListKeysResponse:
        return keys_pb2.ListKeysResponse(keys=keys, next_page_token=f"{request.page_token}1")

    answers: Any = None
    pages = Calls(answers, "a:1").pages(method, keys_pb2.ListKeysRequest(page_size=1))
    for _ in range(50 if has_keys else 5):
        await anext(pages)
    with pytest.raises(Unavailable, match="without an end"):
        await anext(pages)


async def test_wrong_applied_fields() -> None:
    """A number that is not finite in the fields of a file is the server's mistake."""

    class Streams(Answers):
        def stream(self, method: object, request: object) -> Any:
            return self.pages(method, request)

    response = applied_key_pb2.ExportAppliedKeysResponse()
    response.applied_key.name = f"keys/{KID}"
    response.applied_key.fields["outage_grace"] = float("nan")
    answers: Any = Streams(response)
    with pytest.raises(Unreadable, match="wrong value"):
        await RemoteApplied(answers).load()


@pytest.mark.parametrize(("makes_changes", "fault"), [(False, Unavailable), (True, OutcomeUnknown)])
async def test_a_stream_that_falls_silent(
    monkeypatch: pytest.MonkeyPatch,
    makes_changes: bool,
    fault: type[Exception],
) -> None:
    """A server that sends one response and then nothing does not hold a command for ever."""
    monkeypatch.setattr(calls, "QUIET_SECONDS", 0.01)

    async def method(_request: object) -> AsyncIterator[int]:
        yield 1
        await asyncio.Event().wait()

    answers: Any = None
    responses = Calls(answers, "a:1").stream(method, None, makes_changes=makes_changes)
    assert await anext(responses) == 1
    with pytest.raises(fault, match="sent nothing for"):
        await anext(responses)


def test_a_wait_without_end() -> None:
    """An error may ask for a wait of any length."""
    retry, packed = error_details_pb2.RetryInfo(), any_pb2.Any()
    retry.retry_delay.seconds = 10**17
    packed.Pack(retry)
    status = status_pb2.Status(details=[packed]).SerializeToString()
    failed = grpc.aio.AioRpcError(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.aio.Metadata(),
        grpc.aio.Metadata(("grpc-status-details-bin", status)),
    )
    assert AdminError.of(failed).retry_seconds == 1e17


async def test_a_change_that_takes_long(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The log tells again and again that a change waits, and no more of it after its answer."""
    monkeypatch.setattr(calls, "NEWS_SECONDS", 0.0)

    async def slow(_request: object, timeout: float) -> str:
        while caplog.text.count("waiting for the admin API at here") < 2:
            await asyncio.sleep(0)
        return f"made within {timeout:g} s"

    answer = await Calls(Answers(None), "here").change(slow, None)  # type: ignore[arg-type]
    assert answer == "made within 120 s"
    told = caplog.text
    for _ in range(3):
        await asyncio.sleep(0)
    assert caplog.text == told
