"""Rules for other scanners in deploy/: `python -m tests.support.deploy.scanners` writes them."""

from typing import Final

from authz.core.keys.scanner_rules import rules_for
from authz.settings.model import Keys
from tests.support.docs import ROOT

FOLDER: Final = ROOT / "deploy" / "scanners"
FILES: Final = {
    "gitleaks": FOLDER / "gitleaks.toml",
    "trufflehog": FOLDER / "trufflehog.yaml",
    "detect-secrets": FOLDER / "detect_secrets_authz.py",
}


def texts() -> dict[str, str]:
    """Return the rules by tool, for the default prefix."""
    return {tool: rules_for(tool, (Keys().prefix,)) for tool in FILES}


if __name__ == "__main__":
    for tool, text in texts().items():
        FILES[tool].write_text(text)
