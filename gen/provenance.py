"""What a run was made with: versions of packages, and the state of the code."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

VERSIONED = ("clipgen", "torch", "open_clip_torch", "numpy", "polars", "opencv-python-headless")


def provenance() -> dict[str, Any]:
    """Versions and code state that a run was made with."""
    versions = {name: version(name) for name in VERSIONED}
    return {"versions": versions | {"python": platform.python_version()}, "git": git_state()}


def git_state() -> str:
    """Commit of the code; where files differ from it also a hash of how; empty outside a clone."""
    here = Path(__file__).parent
    try:
        commit = _git(here, "rev-parse", "HEAD")
        changes = _git(here, "diff", "HEAD")
    except (OSError, subprocess.CalledProcessError):
        return ""
    changed = hashlib.sha256(changes.encode()).hexdigest()
    return commit + (f"+changes.{changed[:12]}" if changes else "")


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
