"""Transcripts of every command, run against a real Valkey."""

from pathlib import Path

import pytest

from tests.support.cli.terminal import execute, run
from tests.support.cli.transcript import play

TRANSCRIPTS = sorted((Path(__file__).parent / "transcripts").glob("*.txt"))


@pytest.mark.parametrize("transcript", TRANSCRIPTS, ids=lambda file: file.stem)
def test_a_transcript_holds(transcript: Path, empty_store: Path) -> None:
    """Commands print the written lines to the right stream, and exit with the written code."""
    play(transcript, empty_store, run)


def test_a_transcript_holds_for_real_processes(empty_store: Path) -> None:
    """Separate processes without a terminal give the same results."""
    play(Path(__file__).parent / "transcripts" / "no_store.txt", empty_store, execute)
