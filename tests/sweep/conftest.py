"""Sweeps are tried on fabricated records too."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "stats"))
