"""The `events` section: who gets events about keys."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from authz.core.errors import BadInput
from authz.core.web_address import check_url
from authz.settings.sections import Section
from authz.settings.values import EventPattern, File, HttpUrl, Line, Networks, Several, SinkName


def _reachable(url: str) -> str:
    try:
        return check_url("", url)
    except BadInput as cause:
        raise ValueError(cause.problem) from None


class Sink(Section):
    """One receiver of events. types: of events; `*` at the end stands for any rest."""

    kind: Literal["webhook", "slack", "alertmanager", "log"]
    url: Annotated[HttpUrl, AfterValidator(_reachable)] | None = None
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
        return any(
            event_type.startswith(one[:-1]) if one.endswith("*") else event_type == one
            for one in self.types
        )


class Events(Section):
    """Events about keys, for receivers outside."""

    source: Line = Field("authz", min_length=1)
    allowed_networks: Networks = ()
    sinks: Annotated[dict[SinkName, Sink], Field(max_length=32)] = {}
