"""The `events` section: who gets events about keys."""

from typing import Annotated, Literal

from authz.core.notifications.pattern import fits
from authz.settings.parsers import AtMost
from authz.settings.sections import Section
from authz.settings.values import (
    EventPattern,
    File,
    Line,
    Networks,
    Several,
    SinkName,
    WebhookUrl,
    filled,
)


class Sink(Section):
    """One receiver of events. types: of events; `*` at the end stands for any rest."""

    kind: Literal["webhook", "slack", "alertmanager", "log"]
    url: WebhookUrl | None = None
    secret_file: File | None = None
    ca: File | None = None
    types: Several[EventPattern] = ("*",)

    def check_together(self) -> None:
        """Raise ValueError if the kind lacks a setting or has one of another kind."""
        if (self.url is None) != (self.kind == "log"):
            raise ValueError("every kind but log needs url, and log has none")
        if (self.secret_file is None) != (self.kind != "webhook"):
            raise ValueError("a webhook needs secret_file, and no other kind has one")

    def wants(self, event_type: str) -> bool:
        """Return whether the receiver gets events of a type."""
        return any(fits(one, event_type) for one in self.types)


class Events(Section):
    """Events about keys, for receivers outside."""

    source: Annotated[Line, filled] = "authz"
    allowed_networks: Networks = ()
    sinks: Annotated[dict[SinkName, Sink], AtMost(32)] = {}
