"""The documents of the project: what is generated in them, and what tests read from them."""

from pathlib import Path

ROOT = Path(__file__).parents[3]
