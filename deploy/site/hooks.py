"""Puts files of the repository that pages link to into the site, so that no link leaves it.

In the repository a page links to `../deploy/compose.yaml`. The site has that file as
`project/deploy/compose.yaml`, and a page of the repository that is not in docs/ as a page there.
"""

import posixpath
import re
from pathlib import Path
from typing import Any, Final

from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = (
    "README.md",
    "authz/README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "deploy/README.md",
    "deploy/prometheus/README.md",
)
MARK: Final = re.compile(r"<!--(?:figure|setting|include|table) [^>]+-->|<!--/-->")
CODE: Final = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
LINK: Final = re.compile(r"(\]\(|\b(?:src|srcset|href)=\")([^)\"#\s]*)(#[^)\"]*)?(?=[)\"])")


def on_files(files: Files, *, config: Any) -> Files:
    """Add the pages outside docs/, and every other file that a page links to."""
    sources = {f"docs/{file.src_uri}" for file in files.documentation_pages()} | set(PAGES)
    linked = {
        target
        for source in sources
        for target in _targets(source, (ROOT / source).read_text())
        if not target.startswith("docs/") and (ROOT / target).is_file()
    }
    for name in sorted(linked | set(PAGES)):
        added = File.generated(config, f"project/{name}", abs_src_path=str(ROOT / name))
        files.append(added)
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: Any) -> str:
    """Take the marks of generated parts out, and let links lead to where the site has the files."""
    uri = page.file.src_uri
    source = uri.removeprefix("project/") if uri.startswith("project/") else f"docs/{uri}"
    text = MARK.sub("", markdown)
    pieces, at = [], 0
    for block in CODE.finditer(text):
        pieces += [_relinked(text[at : block.start()], source, uri), block[0]]
        at = block.end()
    return "".join([*pieces, _relinked(text[at:], source, uri)])


def _relinked(text: str, source: str, uri: str) -> str:
    def link(match: re.Match[str]) -> str:
        opening, target, anchor = match[1], match[2], match[3] or ""
        if not target or ":" in target:
            return match[0]
        place = _place(_resolved(source, target))
        return f"{opening}{posixpath.relpath(place, posixpath.dirname(uri) or '.')}{anchor}"

    return LINK.sub(link, text)


def _targets(source: str, text: str) -> set[str]:
    """Return the paths that a page links to, from the root of the repository."""
    found = (match[2] for match in LINK.finditer(CODE.sub("", text)))
    return {_resolved(source, target) for target in found if target and ":" not in target}


def _resolved(source: str, target: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), target))


def _place(path: str) -> str:
    """Return where the site has a file of the repository."""
    return path.removeprefix("docs/") if path.startswith("docs/") else f"project/{path}"
