"""Lets the report's tests use the fabricated records of tests/stats."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "stats"))
