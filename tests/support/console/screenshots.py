"""Screenshots of four pages for the documents: a console with content, in a real Chromium.

python -m tests.support.console.screenshots [--if-possible] [DIRECTORY]
"""

import argparse
import asyncio
import logging
import shutil
import tempfile
from pathlib import Path
from typing import Final

from authz.core.roles import Role
from tests.support.console.browser import chromium, tab
from tests.support.console.content import fill, sidecars
from tests.support.console.installation import console_on
from tests.support.real import Valkey

DIRECTORY: Final = Path(__file__).parents[3] / "docs" / "console"
WIDTH: Final = 1280
SHOTS: Final = (
    ("overview", "/", "light"),
    ("key", "/keys/KID", "light"),
    ("usage", "/usage", "dark"),
    ("sidecars", "/sidecars", "dark"),
)


async def take(directory: Path) -> None:
    """Write one PNG for each of SHOTS."""
    directory.mkdir(exist_ok=True)
    with Valkey() as valkey, tempfile.TemporaryDirectory() as scratch:
        async with (
            console_on(valkey, Path(scratch)) as console,
            sidecars(console.rig),
            chromium() as browser,
            tab(browser, console.url) as shown,
        ):
            kids = await fill(console.rig, days=20, requests=4000)
            await console.log_in(shown, Role.ADMIN, "/sidecars")
            await shown.page.get_by_text("3 of 3 follow").wait_for()
            for name, path, scheme in SHOTS:
                await shown.page.emulate_media(color_scheme=scheme)
                await shown.page.set_viewport_size({"width": WIDTH, "height": 800})
                await shown.open(path.replace("KID", kids[0]))
                await shown.page.wait_for_timeout(300)  # charts
                await shown.page.screenshot(path=directory / f"{name}.png")


def main() -> None:
    """Take them. With --if-possible and without Chromium, say so and end well."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--if-possible", action="store_true")
    parser.add_argument("directory", nargs="?", type=Path, default=DIRECTORY)
    given = parser.parse_args()
    if given.if_possible and shutil.which("chromium") is None:
        print("no Chromium on this machine: no pictures of the console were taken")
        return
    # A fault raises. What is logged here only says that the machine stood still for a moment.
    logging.getLogger("authz").addHandler(logging.NullHandler())
    asyncio.run(take(given.directory))
    print(f"pictures of the console: {given.directory}/*.png")


if __name__ == "__main__":
    main()
