"""`Verifier` and a real Check agree on imported keys and on rules of our own settings, too."""

import asyncio
from dataclasses import replace

from envoy.service.auth.v3.external_auth_pb2 import CheckResponse
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from authz.core.limits.key_limits import LimitPolicy
from authz.core.records import Secret
from authz.core.route_facts import Facts
from authz.core.route_rule import Rule
from authz.core.routes import RouteTable
from authz.flows.check import Checker
from authz.flows.imported import ImportedKeys
from authz.flows.limits.limit_report import LimitReports
from authz.flows.verify import Verifier
from authz.rpc.check.build_request import check_request
from authz.rpc.check.extract import Extractor
from authz.storage.meta import KnownPeppers
from tests.support.fakes import (
    KID,
    NOW,
    FakeClock,
    MemoryAliasSource,
    MemoryDigests,
    make_keyring,
    make_record,
)
from tests.support.flows.verifying import RECORDS, MemoryStore, word
from tests.support.limits import MemoryCounters
from tests.support.rpc.door import Door

RING = make_keyring("ak", "1", "2")
PEPPERS = KnownPeppers(RING.fingerprints, RING.fingerprints)
FOREIGN = "sk-0123456789abcdef"
NEWER, OLDER = (digest for _, digest in RING.parse_imported(FOREIGN).digests())
NATIVE = RING.mint("live", KID).text  # of the same kid: what a rotation gave it
CARRIERS = ("x-api-key:", "authorization:bearer")

RULES = st.lists(
    st.builds(
        lambda path, host, methods, facts: Rule.parse("routes", path, host, methods, facts),
        st.sampled_from(["/v1/models", "/v1/{name}", "/v1/**", "/other"]),
        st.sampled_from(["", "*.example.com"]),
        st.sampled_from([(), ("GET",), ("POST",)]),
        st.builds(
            Facts,
            st.none() | st.frozensets(st.sampled_from(["a", "b"]), max_size=2),
            st.none() | st.booleans(),
            st.sampled_from([None, "live", "test"]),
        ),
    ),
    max_size=3,
)
TABLES = st.none() | st.builds(RouteTable, RULES, deny_unmatched=st.booleans())
PATHS = st.sampled_from(["/v1/models", "/v1/models/", "/v1/../other", "/unknown", "/other?a=b"])
TEXTS = st.sampled_from([FOREIGN] * 4 + [NATIVE, FOREIGN + "x", "sk-short", f"{FOREIGN},x", ""])
SAID = st.fixed_dictionaries(
    {}, optional={"scopes": st.sampled_from(["a", "b"]), "auth": st.just("optional")}
)
ALIASES = st.sampled_from([{NEWER: KID}] * 3 + [{OLDER: KID}, {}])


class Imports:
    """An ImportStore of these aliases."""

    def __init__(self, kids: dict[bytes, str]) -> None:
        self._kids = kids

    async def resolve_all(self, digests):
        """Implement ImportStore.resolve_all."""
        return [next((self._kids[d] for d in known if d in self._kids), None) for known in digests]


def imported(record, retired: int | None):
    """The record with the imported key's secret beside what it has."""
    ours = Secret("9", RING.parse(NATIVE).digest(), "2", 0)
    theirs = [Secret("8", digest, "1", 0, retired) for digest in (NEWER, OLDER)]
    return replace(record, secrets=(theirs[0], theirs[1], ours))


async def verified(record, kids, raw: bytes, table: RouteTable | None, *, exist: bool) -> str:
    """Return the verdict of the verifier as a word."""
    request = Extractor(RING, carriers=CARRIERS, rules=table).read(raw)
    imports = Imports(kids) if exist else None
    store = MemoryStore(record)
    reports = LimitReports(MemoryCounters(NOW), LimitPolicy(), FakeClock())
    return word(await Verifier(store, PEPPERS, FakeClock(), reports, imports).verify(request))


async def checked(record, kids, raw: bytes, table: RouteTable | None, *, exist: bool) -> list[str]:
    """Return the words of two Checks: on a miss, and then on a hit."""
    door, aliases = Door(), MemoryAliasSource()
    aliases.kids, aliases.known = kids, exist
    bounds = {"rate": 100, "negative_ttl": 5, "max_entries": 9, "max_negatives": 9, "deadline": 5}
    keys = ImportedKeys(
        aliases, door.cache, door.clock, door.probe, known=MemoryDigests(), **bounds
    )
    keys.trust(float("inf"))
    door.extractor = Extractor(RING, carriers=CARRIERS, rules=table)
    door.checker = Checker(door.cache, PEPPERS, door.clock, door.probe, keys)
    door.compose()
    if record is not None:
        door.source.records[KID] = record
    said = []
    for _ in range(2):
        made = door.check(raw)
        if not isinstance(made, bytes):
            waiting = asyncio.ensure_future(made)
            while not waiting.done():
                await asyncio.sleep(0)
                aliases.answer_all()
                door.source.answer_all()
            made = await waiting
        said.append(CheckResponse.FromString(made).dynamic_metadata["reason"])
    return said


@settings(max_examples=300)
@given(
    record=st.builds(imported, RECORDS, st.sampled_from([None, None, 1])) | st.none(),
    kids=ALIASES,
    text=TEXTS,
    path=PATHS,
    said=SAID,
    table=TABLES,
    exist=st.sampled_from([True, True, False]),
)
@example(
    record=imported(make_record(), None),
    kids={OLDER: KID},
    text=FOREIGN,
    path="/v1/models",
    said={},
    table=None,
    exist=True,
)
def test_they_never_disagree(*, record, kids, text, path, said, table, exist):
    """For any record, alias, text, path and rules, whether or not there are imports."""
    raw = check_request(
        method="GET",
        host="api.example.com",
        path=path,
        peer="203.0.113.7",
        headers={"x-api-key": text},
        extensions=said,
    )
    verdict = asyncio.run(verified(record, kids, raw, table, exist=exist))
    event(verdict)
    assert asyncio.run(checked(record, kids, raw, table, exist=exist)) == [verdict] * 2
