"""Digests of the images of others in deploy/: `python -m tests.support.deploy.image_digests`.

Without an option it asks the registry of each image for its digest, and writes NAME:TAG@DIGEST
into the manifests, the values of the Helm chart, compose.yaml and the Dockerfile. If one digest
cannot be fetched, no file changes. --check asks nobody: it lists the images without a digest.
"""

import argparse
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from tests.support.deploy.registry import Reference, RegistryError, fetch_digest
from tests.support.docs import ROOT

DEPLOY: Final = ROOT / "deploy"
# A base image that the Dockerfile names by its tag in an ARG.
_PYTHON: Final = re.compile(r"(?m)^(ARG PYTHON=)(?P<image>\S+)$")
# Ours has no slash, one of a template has braces, and `auto` is Istio's.
_IMAGE: Final = re.compile(
    r"(?m)^( *(?:- )?image: )(?P<image>[\w.:-]+/[\w./:@-]+)(?=[ \n]|$)", re.ASCII
)


def files(deploy: Path) -> list[Path]:
    """Return the files of this folder that can name images, sorted."""
    found = [deploy / "Dockerfile", *deploy.rglob("*.yaml")]
    return sorted(file for file in found if "templates" not in file.parts)


def references(file: Path) -> Iterator[str]:
    """Yield each image of others that the file names, as one pulls it."""
    text = file.read_text()
    if file.name == "Dockerfile":
        yield from (f"python:{found['image']}" for found in _PYTHON.finditer(text))
    else:
        yield from (found["image"] for found in _IMAGE.finditer(text))


def images(deploy: Path) -> dict[str, set[str]]:
    """Return the digests of each NAME:TAG in this folder; "" is a place without one.

    Raises ValueError for something that is no image.
    """
    found: dict[str, set[str]] = defaultdict(set)
    for file in files(deploy):
        for text in references(file):
            image = Reference.parse(text)
            found[image.text].add(image.digest)
    return dict(sorted(found.items()))


def write(deploy: Path, digests: Mapping[str, str]) -> list[Path]:
    """Write the digest of each NAME:TAG behind it in all files. Return those that changed."""
    changed = []
    for file in files(deploy):
        prefix = "python:" if file.name == "Dockerfile" else ""
        pattern = _PYTHON if prefix else _IMAGE

        def place(found: re.Match[str], prefix: str = prefix) -> str:
            image = Reference.parse(prefix + found["image"])
            return f"{found[1]}{image.text.removeprefix(prefix)}@{digests[image.text]}"

        before = file.read_text()
        after = pattern.sub(place, before)
        if after != before:
            file.write_text(after)
            changed.append(file)
    return changed


def check(deploy: Path) -> tuple[list[str], list[str]]:
    """Return the images without a digest, and the mistakes: two digests of one image."""
    found = images(deploy)
    missing = [image for image, digests in found.items() if "" in digests]
    mistakes = [
        f"{image} has different digests: {', '.join(sorted(digests))}"
        for image, digests in found.items()
        if len(digests - {""}) > 1
    ]
    return missing, mistakes


def renew(deploy: Path, fetch: Callable[[Reference], str] = fetch_digest) -> list[Path]:
    """Fetch the digests of all images, and write them. Return the changed files.

    Raises RegistryError with a line for each image whose digest is not known. Then nothing changes.
    """
    digests, problems = {}, []
    for image in images(deploy):
        try:
            digests[image] = fetch(Reference.parse(image))
        except RegistryError as problem:
            problems.append(str(problem))
    if problems:
        raise RegistryError("\n".join(problems))
    return write(deploy, digests)


def main() -> None:
    """Renew or check the digests. Exit code 1: a registry refused, or two places disagree."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    if parser.parse_args().check:
        missing, mistakes = check(DEPLOY)
        if missing:
            print(f"images without a digest (make image-digests): {', '.join(missing)}")
        if mistakes:
            sys.exit("\n".join(mistakes))
        return
    try:
        changed = renew(DEPLOY)
    except RegistryError as problem:
        sys.exit(f"{problem}\nno file was changed")
    for file in changed:
        print(file.relative_to(ROOT))


if __name__ == "__main__":
    main()
