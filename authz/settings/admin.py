"""The `admin` section: who may administer keys over the network."""

from typing import TYPE_CHECKING, Annotated, Final, Literal
from urllib.parse import urlsplit

from authz.core.listen_address import Address
from authz.settings.parsers import Between
from authz.settings.sections import Section
from authz.settings.values import (
    CertificateUri,
    ClaimName,
    FetchableUrl,
    File,
    HttpUrl,
    Id,
    Line,
    Listen,
    Mode,
    distinct,
    fetchable,
    filled,
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


class Oidc(Section):
    """Bearer tokens of one OpenID Connect issuer. roles: grants by values of `roles_claim`."""

    issuer: FetchableUrl
    audience: Annotated[Line, filled]
    subject_claim: ClaimName = "sub"
    roles_claim: ClaimName = "groups"
    roles: dict[Line, Grant] = {}
    jwks_url: FetchableUrl | None = None
    ca: File | None = None
    clock_skew: Annotated[float, seconds("0", f"{MAX_SKEW}s")] = 60.0
    keys_grace: Annotated[float, seconds("1m", "1d")] = 3600.0

    def granted(self) -> "dict[str, Binding]":
        """Return the bindings of the names in the roles claim."""
        return {name: grant.binding() for name, grant in self.roles.items()}


class AdminTls(Section):
    """TLS of the listeners of the administration API."""

    cert: File
    key: File
    client_ca: File | None = None


class ConsoleLogin(Section):
    """Our registration at the issuer of `admin.oidc`, by which people log in to the console.

    client_secret: a file; None: a public client. session: the time after which the claims of a
    login are old, so that the browser has to go to the issuer again.
    """

    client_id: Annotated[Line, filled]
    client_secret: File | None = None
    scopes: tuple[Line, ...] = ("openid", "profile", "email")
    session: Annotated[float, seconds("5m", "1d")] = 3600.0


def _origin(url: str) -> str:
    parts = urlsplit(fetchable(url))
    if parts.path not in {"", "/"} or parts.query or url != url.lower():
        raise ValueError("scheme, host and port in lower case, such as https://keys.example.com")
    return f"{parts.scheme}://{parts.netloc}"


class Console(Section):
    """The pages for people, on `admin.http_listen`.

    url: the address in browsers, without a path; None: http on loopback. idle: the time without a
    request that ends a session. session: the longest time of a session. gateway: for examples.
    """

    enabled: bool = True
    url: Annotated[HttpUrl, _origin] | None = None
    idle: Annotated[float, seconds("1m", "1d")] = 1800.0
    session: Annotated[float, seconds("5m", "7d")] = 28_800.0
    login: ConsoleLogin | None = None
    gateway: HttpUrl | None = None


class Admin(Section):
    """The administration API: its listeners, its callers and their roles.

    certificates: grants by a URI of the client certificate.
    """

    listen: Listen = Address("127.0.0.1", 9193)
    http_listen: Listen = Address("127.0.0.1", 9194)
    socket_mode: Mode = 0o660
    tls: AdminTls | None = None
    calls_per_second: Annotated[int, Between(1, 100_000)] = 500
    console: Console = Console()
    oidc: Oidc | None = None
    certificates: dict[CertificateUri, Grant] = {}
    self_service: Annotated[tuple[Literal["read", "rotate", "revoke"], ...], distinct] = ()

    def own_actions(self) -> "frozenset[OwnAction]":
        """Return the actions in `self_service`: those that a holder may do with its own key."""
        from authz.core.roles import OwnAction  # noqa: PLC0415

        return frozenset(map(OwnAction, self.self_service))
