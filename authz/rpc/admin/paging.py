"""Page sizes, and the keys of a page that a caller may see."""

from dataclasses import replace
from typing import Final

from authz.core.access import Caller, visible
from authz.core.errors import BadInput
from authz.core.filter import parse_filter
from authz.core.records import KeyRecord
from authz.core.roles import Action
from authz.core.selector import Selector
from authz.flows.selection import Keep

DEFAULT_SIZE: Final = 50
MAX_SIZE: Final = 1000


def page_size(given: int) -> int:
    """Return the size of a page (AIP-158): `given`, at most MAX_SIZE (1000); 50 for 0.

    Raises BadInput below 0.
    """
    if given < 0:
        raise BadInput("page_size", "1 to 1000")
    return min(given or DEFAULT_SIZE, MAX_SIZE)


def selection_for(caller: Caller, action: Action, text: str) -> tuple[Selector | None, Keep | None]:
    """Return the selector of a filter, and the test of keys that the caller may see. Apply both.

    The selector is None if no key can pass both. The test is None if the caller sees every key.
    Raises BadInput for a wrong filter.
    """
    selector, seen = parse_filter("filter", text), visible(caller, action)
    if seen.is_everything:
        return selector, None
    tenants = seen.tenants
    if tenants is not None:
        if selector.tenant_id is not None and selector.tenant_id not in tenants:
            return None, None
        if len(tenants) == 1:  # then the store's index of fields leaves the others out
            selector = replace(selector, tenant_id=next(iter(tenants)))

    def keep(record: KeyRecord) -> bool:
        return seen.covers(record.tenant_id, record.project_id)

    return (None if seen.is_empty else selector), keep
