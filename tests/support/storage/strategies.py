"""Hypothesis strategies for records and for texts that a store may hold."""

import ipaddress
from dataclasses import replace

from hypothesis import strategies as st

from authz.core import fields
from authz.core.keys import base62
from authz.core.limits.limit import OnOutage
from authz.core.limits.throttle import Throttle
from authz.core.records import KeyRecord, RevocationReason, Secret, Status
from tests.support.limits import any_limits

TIMES = st.integers(0, 10**14)
MAYBE_TIMES = st.none() | TIMES
KIDS = st.text(base62.DIGITS, min_size=16, max_size=16)
IDS = st.from_regex(r"[A-Za-z0-9._:@-]{1,20}", fullmatch=True)
LINES = st.text(max_size=40).filter(str.isprintable)
LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
HOSTS = st.builds(
    lambda wild, labels: ("*." if wild else "") + ".".join(labels),
    st.booleans(),
    st.lists(LABELS, min_size=1, max_size=4),
)
ORIGINS = st.builds(
    lambda scheme, host, port: f"{scheme}://{host}{port}",
    st.sampled_from(["https", "http", "app"]),
    HOSTS,
    st.sampled_from(["", ":8080"]),
)
SCOPES = st.from_regex(r"\*|[a-z._/@+-]{1,9}(:[a-z0-9]{1,9}){0,2}(:\*)?", fullmatch=True)
NETWORKS = st.one_of(
    st.builds(
        lambda address, bits: ipaddress.ip_network((address, bits), strict=False),
        st.ip_addresses(v=4),
        st.integers(0, 32),
    ),
    st.builds(
        lambda address, bits: ipaddress.ip_network((address, bits), strict=False),
        st.ip_addresses(v=6),
        st.integers(0, 128),
    ),
).map(str)
METADATA = st.dictionaries(
    st.from_regex(r"[A-Za-z0-9._-]{1,20}", fullmatch=True), LINES, max_size=4
)


def _parsed(parse, texts):
    return st.lists(texts, max_size=4).map(lambda given: parse("field", given))


@st.composite
def _secrets(draw) -> tuple[Secret, ...]:
    count = draw(st.integers(1, 5))
    return tuple(
        Secret(
            id=str(number + 1),
            digest=draw(st.binary(min_size=32, max_size=32) | st.just(b"")),
            pepper=draw(st.sampled_from(base62.DIGITS)),
            created_at=draw(TIMES),
            retires_at=draw(MAYBE_TIMES),
        )
        for number in range(count)
    )


_ANY_RECORDS = st.builds(
    KeyRecord,
    kid=KIDS,
    version=st.integers(1, 10**12),
    status=st.sampled_from(Status),
    env=st.sampled_from(["live", "test"]),
    client_id=IDS,
    created_at=TIMES,
    secrets=_secrets(),
    name=LINES,
    project_id=st.just("") | IDS,
    tenant_id=st.just("") | IDS,
    plan=st.just("") | IDS,
    limits=any_limits(),
    on_outage=st.none() | st.sampled_from(OnOutage),
    throttle=st.none() | st.builds(Throttle, st.integers(25, 99), TIMES),
    scopes=_parsed(fields.scopes, SCOPES),
    not_before=MAYBE_TIMES,
    expires_at=MAYBE_TIMES,
    allowed_cidrs=_parsed(fields.networks, NETWORKS),
    allowed_hosts=_parsed(fields.hosts, HOSTS),
    allowed_origins=_parsed(fields.origins, ORIGINS),
    metadata=METADATA,
    revoked_at=MAYBE_TIMES,
    revocation_reason=st.none() | st.sampled_from(RevocationReason),
    outage_grace=st.none() | st.integers(0, fields.MAX_OUTAGE_GRACE_MS),
    public=st.booleans(),
)


def _possible(record: KeyRecord) -> KeyRecord:
    """Return the record, not publishable if it lacks what such a key needs."""
    can_be = record.allowed_origins and (record.limits or record.plan)
    return replace(record, public=bool(record.public and can_be))


RECORDS = _ANY_RECORDS.map(_possible)

# Whatever bytes a store may hold.
TEXTS = st.text(st.characters(exclude_categories=[]), max_size=30) | st.binary(max_size=30).map(
    lambda raw: raw.decode("utf-8", "surrogateescape")
)
