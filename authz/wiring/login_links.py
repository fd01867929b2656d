"""Login links of the console, made by an operator who has the pepper and the store."""

from authz.core.access import roles_of
from authz.core.errors import BadInput
from authz.core.login_link import link_url
from authz.core.records import KeyRecord, Status
from authz.core.sealed_text import SealedTexts
from authz.flows.console_sessions import login_link
from authz.process.clock import SystemClock
from authz.settings.model import Settings
from authz.wiring.administration import keyring


def console_address(settings: Settings) -> str:
    """Return the address of the console in a browser. Raises BadInput if it has none."""
    admin = settings.admin
    if not admin.console.enabled:
        raise BadInput("admin.console.enabled", "is false, so there is no console to log in to")
    if admin.console.url is not None:
        return admin.console.url
    if admin.http_listen.path:
        problem = f"has to be set: browsers cannot open admin.http_listen ({admin.http_listen})"
        raise BadInput("admin.console.url", problem)
    return f"http://{admin.http_listen}"


def link_to_console(settings: Settings, record: KeyRecord) -> str:
    """Return the address that logs in as a key, once, within 10 minutes.

    Raises BadInput if the key has no role or cannot be used now.
    """
    now = SystemClock().wall_ms()
    live = [secret for secret in record.secrets if secret.is_live(now)]
    if not roles_of(record.scopes):
        problem = (
            "has no scope of a role, such as authz:admin; `authz admin token` makes such a key"
        )
        raise BadInput("KID", f"{record.kid} {problem}")
    is_over = record.expires_at is not None and now >= record.expires_at
    if record.status is not Status.ACTIVE or is_over or not live:
        raise BadInput(
            "KID", f"{record.kid} cannot be used now; see `authz keys show {record.kid}`"
        )
    seals = SealedTexts(keyring(settings).session_keys)
    token = login_link(seals, record.kid, live[-1].id, now)
    return link_url(console_address(settings), token)
