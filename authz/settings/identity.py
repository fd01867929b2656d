"""The `identity` section: the headers that give the identity to the backend."""

from authz.settings.sections import Section
from authz.settings.values import Audience, HeaderName


class Identity(Section):
    """The headers that give the identity to the backend."""

    header_prefix: HeaderName = "x-auth-"
    assertion_issuer: Audience = ""
    budget_remaining: bool = False
