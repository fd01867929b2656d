"""Patterns of event types, such as `authz.key.*`."""


def fits(pattern: str, event_type: str) -> bool:
    """Return whether a pattern has an event type. `*` at its end stands for any rest."""
    if pattern.endswith("*"):
        return event_type.startswith(pattern[:-1])
    return event_type == pattern
