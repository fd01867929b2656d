"""Looks for bytes that the connection does not bear: `make fuzz`, with atheris (libFuzzer).

    python -m tests.rpc.h2.fuzz DIRECTORY [OPTIONS OF LIBFUZZER]

New inputs, and those that fail, are written to DIRECTORY; what is committed is where it begins.
"""

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["authz.rpc.h2", "hpack"]):
    from tests.support.h2.torture import torture

CORPUS = Path(__file__).parents[2] / "vectors" / "h2_corpus"
OPTIONS = ["-timeout=10", "-rss_limit_mb=1024", "-max_len=2048"]


def main() -> None:
    """Run until libFuzzer ends the process."""
    directory, *options = sys.argv[1:]
    Path(directory).mkdir(parents=True, exist_ok=True)
    artifacts = f"-artifact_prefix={directory}/"
    atheris.Setup([sys.argv[0], directory, str(CORPUS), artifacts, *OPTIONS, *options], torture)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
