"""Records, a store and words for tests that compare a Verifier with a Check."""

from dataclasses import dataclass

from hypothesis import strategies as st

from authz.core import fields
from authz.core.decision import Deny
from authz.core.errors import Unavailable, Unreadable
from authz.core.records import KeyRecord, Secret, Status
from authz.flows.verify import Verdict
from tests.support.fakes import DAY, KID, NOW, make_record
from tests.support.rpc.reading import RING

TEXTS = [RING.mint("live", KID).text for _ in range(3)]
DIGESTS = [RING.parse(text).digest() for text in TEXTS]


@dataclass
class MemoryStore:
    """A KeyStore with what it answers for the one kid."""

    found: KeyRecord | Unreadable | Unavailable | None

    async def find(self, kid: str) -> KeyRecord | None:
        """Implement KeyStore.find."""
        found = self.found if kid == KID else None
        if isinstance(found, Exception):
            raise found
        return found


def seldom(values):
    """None most of the time, so that later checks are reached."""
    return st.one_of(st.none(), st.none(), st.none(), values)


def few(values):
    """Nothing most of the time, for the same reason."""
    return st.one_of(st.just(()), st.just(()), st.lists(st.sampled_from(values), max_size=2))


TIMES = st.sampled_from([NOW - 31 * DAY, NOW - 1, NOW, NOW + 1])
RECORDS = st.builds(
    make_record,
    status=st.sampled_from([Status.ACTIVE] * 3 + [Status.DISABLED, Status.REVOKED]),
    env=st.sampled_from(["live", "test"]),
    secrets=st.lists(
        st.builds(
            Secret,
            id=st.just("1"),
            digest=st.sampled_from([*[DIGESTS[0]] * 8, *DIGESTS[1:], b""]),
            pepper=st.just("1"),
            created_at=st.just(0),
            retires_at=seldom(TIMES),
        ),
        min_size=1,
        max_size=3,
    ).map(tuple),
    not_before=seldom(TIMES),
    expires_at=seldom(TIMES),
    allowed_cidrs=few(["203.0.113.0/24", "::ffff:203.0.113.0/120", "10.0.0.0/8"]).map(
        lambda given: fields.networks("", given)
    ),
    allowed_hosts=few(["api.example.com", "*.example.com", "other.org"]).map(tuple),
    allowed_origins=few(["https://a.com", "https://*.a.com"]).map(tuple),
    scopes=few(["a", "a:*", "b", "*"]).map(frozenset),
)


def word(verdict: Verdict) -> str:
    """A verdict in the word of the access log."""
    decision = verdict.decision
    if isinstance(decision, Deny):
        return decision.reason.value
    return "ok" if decision.key else "anonymous"
