"""Every command as it is used: the transcripts, run against a real Valkey."""

from pathlib import Path

import pytest

from tests.support.cli.terminal import execute, run
from tests.support.cli.transcript import play

TRANSCRIPTS = sorted((Path(__file__).parent / "transcripts").glob("*.txt"))


@pytest.mark.parametrize("transcript", TRANSCRIPTS, ids=lambda file: file.stem)
def test_a_transcript_holds(transcript: Path, empty_store: Path) -> None:
    """Commands print what is written, to the right stream, and exit as written."""
    play(transcript, empty_store, run)


def test_a_transcript_holds_for_real_processes(empty_store: Path) -> None:
    """Running in one process hides nothing: processes without a terminal do the same."""
    play(Path(__file__).parent / "transcripts" / "no_store.txt", empty_store, execute)
