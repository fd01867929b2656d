"""The whole console: a running admin API with its login, and keys of each role."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from authz.core.access import API_HOST
from authz.core.roles import Role
from authz.wiring.administration import administration
from authz.wiring.login_links import link_to_console
from tests.support.console.browser import Tab
from tests.support.real import Valkey
from tests.support.rpc.admin import AdminRig, admin_rig, admin_settings


@dataclass
class Console:
    """A running console. keys: kid and text of a key of each role."""

    rig: AdminRig
    keys: dict[Role, tuple[str, str]] = field(default_factory=dict, repr=False)

    @property
    def url(self) -> str:
        """The address, without a slash at its end."""
        return f"http://{self.rig.process.http}"

    async def key(self, role: Role) -> tuple[str, str]:
        """Return kid and text of a key that may log in with this role, always the same one."""
        if role not in self.keys:
            issued = await self.rig.issue(
                [role.scope], name=f"login of the {role.value}", allowed_hosts=(API_HOST,)
            )
            self.keys[role] = issued
        return self.keys[role]

    async def link(self, role: Role) -> str:
        """Return a link that logs in with this role, once."""
        kid, _ = await self.key(role)
        async with administration(self.rig.settings) as lifecycle:
            record = await lifecycle.show(kid)
        port = self.url.rpartition(":")[2]
        return link_to_console(self.rig.settings, record).replace(":0/", f":{port}/")

    async def log_in(self, tab: Tab, role: Role, then: str = "/keys") -> None:
        """Log in by the form, as a person does, and arrive at a page."""
        _, text = await self.key(role)
        await tab.open(f"/login?next={then}")
        await tab.page.get_by_label("Key with an admin role").fill(text)
        await tab.page.get_by_role("button", name="Log in").click()
        await tab.page.wait_for_url(f"{self.url}{then}")


@asynccontextmanager
async def console_on(valkey: Valkey, directory: Path, **admin: Any) -> AsyncIterator[Console]:
    """Run the admin API with its console until the block ends. admin: more of its settings."""
    settings = admin_settings(valkey, directory, calls_per_second=100_000, **admin)
    async with admin_rig(settings) as rig:
        yield Console(rig)
