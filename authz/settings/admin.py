"""The `admin` section: who may administer keys over the network."""

from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import AfterValidator, Field

from authz.core.errors import BadInput
from authz.core.listen_address import Address
from authz.core.web_address import check_url
from authz.settings.sections import Section
from authz.settings.values import (
    CertificateUri,
    ClaimName,
    File,
    HttpUrl,
    Id,
    Line,
    Listen,
    Mode,
    distinct,
    seconds,
)

if TYPE_CHECKING:  # commands do not need these modules
    from authz.core.access import Binding
    from authz.core.roles import OwnAction

MAX_SKEW: Final = 300  # seconds


class Grant(Section):
    """A role for the keys of these tenants and projects. An empty list means all of them."""

    role: Literal["viewer", "issuer", "admin", "auditor"]
    tenants: tuple[Id, ...] = ()
    projects: tuple[Id, ...] = ()

    def binding(self) -> "Binding":
        """Return the grant as a Binding of the core."""
        from authz.core.access import Binding  # noqa: PLC0415
        from authz.core.roles import Role  # noqa: PLC0415

        return Binding(Role(self.role), frozenset(self.tenants), frozenset(self.projects))


def _fetchable(url: str) -> str:
    try:
        return check_url("", url)
    except BadInput as cause:
        raise ValueError(cause.problem) from None


class Oidc(Section):
    """Bearer tokens of one OpenID Connect issuer. roles: grants by values of `roles_claim`."""

    issuer: Annotated[HttpUrl, AfterValidator(_fetchable)]
    audience: Line = Field(min_length=1)
    subject_claim: ClaimName = "sub"
    roles_claim: ClaimName = "groups"
    roles: dict[Line, Grant] = {}
    jwks_url: Annotated[HttpUrl, AfterValidator(_fetchable)] | None = None
    ca: File | None = None
    clock_skew: Annotated[float, seconds("0", f"{MAX_SKEW}s")] = 60.0
    keys_grace: Annotated[float, seconds("1m", "1d")] = 3600.0


class AdminTls(Section):
    """TLS of the listeners of the administration API."""

    cert: File
    key: File
    client_ca: File | None = None


class Admin(Section):
    """The administration API: its listeners, its callers and their roles.

    certificates: grants by a URI of the client certificate.
    """

    listen: Listen = Address("127.0.0.1", 9193)
    http_listen: Listen = Address("127.0.0.1", 9194)
    socket_mode: Mode = 0o660
    tls: AdminTls | None = None
    calls_per_second: int = Field(500, ge=1, le=100_000)
    oidc: Oidc | None = None
    certificates: dict[CertificateUri, Grant] = {}
    self_service: Annotated[
        tuple[Literal["read", "rotate", "revoke"], ...], AfterValidator(distinct)
    ] = ()

    def own_actions(self) -> "frozenset[OwnAction]":
        """Return the actions in `self_service`: those that a holder may do with its own key."""
        from authz.core.roles import OwnAction  # noqa: PLC0415

        return frozenset(map(OwnAction, self.self_service))
