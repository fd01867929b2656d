"""The `tls` part of a section that listens."""

from authz.settings.sections import Section
from authz.settings.values import File


class Tls(Section):
    """TLS of a listener."""

    cert: File
    key: File
    client_ca: File | None = None
