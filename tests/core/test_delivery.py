"""The form of a delivered secret, and names that cannot be made from the ids of a key."""

import base64
import contextlib
import json
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core import delivery
from authz.core.delivery import Parcel, Undelivered, check_template
from authz.core.errors import BadInput
from authz.core.fields import identifier
from tests.support.fakes import KID

PARCEL = Parcel(KID, "2", 1_000, "acme-web", "shop", "", "ak_live_secret")


def _is_id(text):
    try:
        return identifier("id", text) == text
    except BadInput:
        return False


IDS = st.text("abcXYZ019._-/:@", min_size=1, max_size=64).filter(_is_id)


def parcel(client):
    """Return the parcel of a key of this client."""
    return Parcel(KID, "2", 1_000, client, "", "", "ak_live_secret")


def test_an_apply_of_kubernetes():
    """The Secret of the client has one entry for the key, owned by a manager for it alone."""
    path = delivery.kubernetes_path(PARCEL, "shop", "authz-{client}")
    assert path == (
        f"/api/v1/namespaces/shop/secrets/authz-acme-web?fieldManager=authz-{KID}&force=true"
    )
    body = json.loads(delivery.kubernetes_body(PARCEL, "authz-{client}", "{kid}"))
    assert body["metadata"] == {"name": "authz-acme-web"}
    assert base64.b64decode(body["data"][KID]) == b"ak_live_secret"


@pytest.mark.parametrize("client", ["Acme", "acme_web", "a/b", "-a", "a.", "a" * 300])
def test_names_that_kubernetes_refuses(client):
    """A client whose id is no name of a Secret gets no delivery: two must not share a name."""
    with pytest.raises(Undelivered):
        delivery.kubernetes_path(parcel(client), "shop", "{client}")


@given(IDS)
def test_an_id_is_one_segment_of_a_path(client):
    """No id of a client reaches another path of Vault."""
    try:
        path = delivery.vault_path(parcel(client), "secret", "authz/{client}/{kid}")
    except Undelivered:
        assert set(client) == {"."}
        return
    segments = urlsplit(path).path.split("/")
    assert segments[:5] == ["", "v1", "secret", "data", "authz"]
    assert [unquote(one) for one in segments[5:]] == [client, KID]


def test_a_key_without_the_id():
    """A template with an id that the key lacks is refused."""
    with pytest.raises(Undelivered, match="no tenant"):
        PARCEL.filled("{tenant}-{kid}")


TWO = st.text("a-", min_size=1, max_size=3)


@given(st.sampled_from(["{tenant}-{client}", "{tenant}--{client}.x"]), TWO, TWO, TWO, TWO)
def test_two_tenants_never_share_a_name(template, tenant, client, other_tenant, other_client):
    """An id that has the text between two names is refused: a-b of c could be b-c of a."""
    keys = {(tenant, client), (other_tenant, other_client)}
    names = []
    for owner, holder in keys:
        with contextlib.suppress(Undelivered):
            names.append(Parcel(KID, "2", 1_000, holder, "", owner, "").filled(template))
    assert len(set(names)) == len(names)


def test_an_id_with_the_text_between_two_names():
    """The refusal says why. A name with the kid is that of one key, so its ids are free."""
    found = Parcel(KID, "2", 1_000, "web", "", "a-b", "ak_live_secret")
    with pytest.raises(Undelivered, match="two tenants could share"):
        found.filled("authz-{tenant}-{client}")
    assert found.filled("authz-{tenant}.{client}") == "authz-a-b.web"
    assert found.filled("authz-{tenant}-{kid}") == f"authz-a-b-{KID}"
    assert found.filled("{tenant}/{client}", is_path=True) == "a-b/web"


@pytest.mark.parametrize(
    "text", ["{tenant}{client}", "{other}", "{}", "{kid", "kid}", "", "{KID}", "a\nb", "x" * 300]
)
def test_templates_that_are_refused(text):
    """A template with another variable or a single brace is no template."""
    with pytest.raises(BadInput):
        check_template(text)


def test_a_parcel_does_not_show_its_secret():
    """The text is not in the representation."""
    assert "ak_live_secret" not in repr(PARCEL)
