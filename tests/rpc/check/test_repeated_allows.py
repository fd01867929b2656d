"""An allow on a lease that is remembered is the one that would be made anew."""

from itertools import product
from random import Random

from envoy.service.auth.v3.external_auth_pb2 import CheckResponse

from authz.core.decision import Charged, StaleCharged
from authz.core.limits.key_limits import KeyLimits, LimitGroup, LimitResult, Owner
from authz.core.limits.limit import OnOutage, parse_limits
from authz.core.records import Secret
from authz.core.request import IN_QUERY, Route
from authz.core.tokens.presented import AcceptedToken
from tests.support.fakes import KID, NOW, make_record, make_request
from tests.support.rpc.answers import responder

LIMITS = KeyLimits((LimitGroup(Owner.KEY, "", parse_limits("limits", ("9/min",))),), OnOutage.LOCAL)
RESULTS = [LimitResult(LIMITS, (left,), (1000,), windows=(60,)) for left in (1, 2, 2)]
KEYS = [
    make_record(),
    make_record(client_id="other"),
    make_record(secrets=tuple(Secret(n, n.encode() * 32, "1", NOW) for n in "12")),
]
ROUTES = [Route(), Route(label="chat"), Route(label="chat", cost=3)]
TOKEN = AcceptedToken("one", KID, "1", frozenset({"a:r"}), NOW + 1000, "k")
CARRIERS = ["x-api-key", "authorization", IN_QUERY]
PATHS = ["/a?api_key=x&b=1", "/c?api_key=x"]


def without_id(raw: bytes) -> CheckResponse:
    """The response, but for the id that no two have in common."""
    response = CheckResponse.FromString(raw)
    assert response.dynamic_metadata["charge_id"]
    del response.dynamic_metadata["charge_id"]
    return response


def test_an_allow_that_is_remembered_is_right():
    """Its bytes depend on result, record, route, carrier, path, token and kind."""
    kinds = [Charged, StaleCharged]
    cases = list(product(RESULTS, KEYS, ROUTES, CARRIERS, PATHS, [None, TOKEN], kinds))
    order = 2 * cases
    Random(1).shuffle(order)
    writer, ids = responder(query="api_key"), set()
    for one in order + [each for each in cases for _ in "ab"]:
        result, key, route, carrier, path, token, kind = one
        request = make_request(route=route, carrier=carrier, token=token, path=path)
        raw = writer.write(kind(key, result), request)
        anew = responder(query="api_key").write(kind(key, result), request)
        assert without_id(raw) == without_id(anew)
        ids.add(CheckResponse.FromString(raw).dynamic_metadata["charge_id"])
    assert len(ids) == len(order) + 2 * len(cases)
