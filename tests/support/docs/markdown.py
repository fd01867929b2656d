"""Pages as tests read them: prose, blocks, commands, headings and links."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

FENCED: Final = re.compile(r"^ *```[^\n]*\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
LINK: Final = re.compile(r"\]\(([^)\s]+)\)")
INCLUDED: Final = re.compile(r"^<!--(?:include|table) .*?<!--/-->", re.DOTALL | re.MULTILINE)
HIDDEN: Final = re.compile(r"<!--.*?-->", re.DOTALL)


def commands_in(text: str) -> Iterator[str]:
    """Yield lines of blocks, and words in backquotes, that begin with `authz `."""
    for block in FENCED.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            if found := re.match(r"\s*(?:[$%] )?((?:[A-Z_]+=\S+ )*)(authz .*)", line):
                yield found[2]
    yield from re.findall(r"`(authz [^`\n\[\]]+)`", FENCED.sub("", text))


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings."""
    titles = re.findall(r"^#+ (.+)$", FENCED.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}


def links_in(text: str) -> Iterator[tuple[str, str]]:
    """Yield each link outside code blocks as path and anchor."""
    for target in LINK.findall(FENCED.sub("", text)):
        path, _, anchor = target.partition("#")
        yield path, anchor


def prose(text: str) -> str:
    """Return a page without code blocks and without the comments around generated parts."""
    return HIDDEN.sub("", FENCED.sub("", text))


def written(text: str) -> str:
    """Return the part of a page that people write: no code blocks, no generated parts."""
    return FENCED.sub("", INCLUDED.sub("", text))


def sentences(text: str) -> Iterator[str]:
    """Yield the sentences of a page's prose, cells of tables and items of lists apart."""
    for paragraph in re.split(r"\n\s*\n|\n(?=\s*(?:[-*|#>]|\d+\.) ?)", text):
        for cell in re.split(r"(?<!\\)\|", paragraph):
            words = " ".join(re.sub(r"^\s*(?:[-*#>]+|\d+\.)\s+", "", cell.strip()).split())
            yield from (found for found in re.split(r"(?<=[.:?!])\s+", words) if found)


def language_of_blocks(page: Path) -> set[str]:
    """Return the languages that the blocks of a page name."""
    opening = re.findall(r"^ *```(\w*)\n.*?^ *```", page.read_text(), re.MULTILINE | re.DOTALL)
    return set(opening)
