"""The `events` section: who gets events about keys."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from authz.core.notifications.pattern import fits
from authz.settings.sections import Section
from authz.settings.values import (
    EventPattern,
    FetchableUrl,
    File,
    Line,
    Networks,
    Several,
    SinkName,
)


class Sink(Section):
    """One receiver of events. types: of events; `*` at the end stands for any rest."""

    kind: Literal["webhook", "slack", "alertmanager", "log"]
    url: FetchableUrl | None = None
    secret_file: File | None = None
    ca: File | None = None
    types: Several[EventPattern] = ("*",)

    @model_validator(mode="after")
    def _is_complete(self) -> "Sink":
        if (self.url is None) != (self.kind == "log"):
            raise ValueError("every kind but log needs url, and log has none")
        if (self.secret_file is None) != (self.kind != "webhook"):
            raise ValueError("a webhook needs secret_file, and no other kind has one")
        return self

    def wants(self, event_type: str) -> bool:
        """Return whether the receiver gets events of a type."""
        return any(fits(one, event_type) for one in self.types)


class Events(Section):
    """Events about keys, for receivers outside."""

    source: Line = Field("authz", min_length=1)
    allowed_networks: Networks = ()
    sinks: Annotated[dict[SinkName, Sink], Field(max_length=32)] = {}
