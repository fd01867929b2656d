"""CheckRequests that `authz keys verify` writes: a key is read where they carry it."""

import pytest

from authz.rpc.check.build_request import carried, check_request
from tests.support.fakes import KID
from tests.support.rpc.reading import KEY, credential, extractor


@pytest.mark.parametrize(
    "carrier", ["x-api-key:", "x-goog-api-key:", "authorization:bearer", "basic:username"]
)
def test_a_key_is_read_where_it_is_carried(carrier):
    """Each form of the setting."""
    raw = check_request(
        method="GET",
        host="api.example.com",
        path="/",
        peer="",
        headers=dict([carried(carrier, KEY)]),
        extensions={},
    )
    assert credential(extractor(carriers=(carrier,)).read(raw)) == KID
