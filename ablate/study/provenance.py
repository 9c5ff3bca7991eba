"""Where a record comes from: not part of a run's identity, but printed under every table."""

import importlib.metadata
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from ablate.train.device import device_type

_PACKAGES = (
    *("ablate", "torch", "torchvision", "torchaudio", "lightning", "omegaconf", "tokenizers", "numpy"),
    *("pillow", "av", "soundfile", "open_clip_torch"),
)


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def provenance() -> dict[str, Any]:
    """Commit and dirtiness of the code, package versions, device, threads and the time in UTC."""
    device = torch.cuda.get_device_name() if device_type() == "cuda" else platform.machine()
    return {
        "commit": _git("rev-parse", "HEAD") or "unknown",
        # Results are written while studies run; they are not code.
        "dirty": bool(_git("status", "--porcelain", "--", ":/ablate", ":/encoders")),
        "versions": _versions(),
        "device": f"{device_type()} ({device})",
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }
