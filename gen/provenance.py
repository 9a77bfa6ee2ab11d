"""What a run was made with: versions of packages, and the state of the code."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
CODE = ("gen", "splits", "analysis")
"""below it; what else stands there and is not in git is the user's own"""
VERSIONED = ("clipgen", "torch", "open_clip_torch", "numpy", "polars", "opencv-python-headless")


def provenance() -> dict[str, Any]:
    """Versions and code state that a run was made with."""
    versions = {name: version(name) for name in VERSIONED}
    return {"versions": versions | {"python": platform.python_version()}, "git": git_state()}


def git_state() -> str:
    """Commit of the code; where it differs, also a hash of how; empty outside a clone.

    Files of the packages that git does not know, nor ignores, are a difference, too.
    """
    try:
        commit = _git("rev-parse", "HEAD").strip()
        changes = [_git("diff", "HEAD")]
        for name in _git("ls-files", "-z", "--others", "--exclude-standard", *CODE).split("\0")[
            :-1
        ]:
            changes += [name, hashlib.sha256((ROOT / name).read_bytes()).hexdigest()]
    except (OSError, subprocess.CalledProcessError):
        return ""
    if changes == [""]:
        return commit
    return f"{commit}+changes.{hashlib.sha256(repr(changes).encode()).hexdigest()[:12]}"


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
