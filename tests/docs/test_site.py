"""The documentation builds as a site, without a warning and without the network."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.docs import ROOT

CONFIG = ROOT / "deploy" / "site" / "mkdocs.yml"
# Parts of a page that a browser loads by itself, from another host.
LOADED = re.compile(
    r"<(?:script|img|iframe|source)[^>]+src(?:set)?=\"https?:|<link[^>]+href=\"https?:"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site. A warning, such as one about a link, fails the build."""
    made = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", str(CONFIG)]
    built = subprocess.run(
        [*command, "-d", str(made)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1", "SOURCE_DATE_EPOCH": "0"},
    )
    assert built.returncode == 0, built.stderr
    assert "WARNING" not in built.stderr
    return made


def test_every_page_is_in_the_site(site: Path) -> None:
    """Each Markdown file of docs/ has become a page."""
    wanted = {
        file.relative_to(ROOT / "docs").with_name(
            "index.html" if file.stem == "README" else f"{file.stem}.html"
        )
        for file in ROOT.glob("docs/**/*.md")
    }
    assert not [page for page in wanted if not (site / page).exists()]


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    """Scripts, styles, fonts and images come from the site itself."""
    loaded = {
        found
        for page in site.rglob("*.html")
        for found in LOADED.findall(page.read_text())
        if "canonical" not in found
    }
    assert not loaded


def test_every_address_of_a_page_is_in_the_site(site: Path) -> None:
    """A link or an image leads to a file that was built."""
    lost = []
    for page in site.rglob("*.html"):
        for address in re.findall(r"(?:href|src|srcset)=\"([^\"#:?]+)[\"#?]", page.read_text()):
            target = (
                site / address.lstrip("/") if address.startswith("/") else page.parent / address
            )
            if not target.exists():
                lost.append(f"{page.relative_to(site)}: {address}")
    assert not lost
