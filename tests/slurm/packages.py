"""Install what the tests with Slurm need: Debian's packages of Slurm and munge."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from cluster import NEEDED

INSTALL = ["apt-get", "install", "--yes", "--quiet", "slurm-wlm", "munge"]


def main() -> int:
    """Install what is missing; return an exit code."""
    path = f"{os.environ['PATH']}:/usr/sbin"
    missing = [name for name in NEEDED if not shutil.which(name, path=path)]
    if os.geteuid():
        print("error: a Slurm cluster of one's own needs root", file=sys.stderr)
        return 2
    if missing and not shutil.which("apt-get"):
        print(f"error: no {', '.join(missing)}; install Slurm and munge", file=sys.stderr)
        return 2
    if missing:
        subprocess.run(["apt-get", "update", "--quiet"], check=True)
        subprocess.run(INSTALL, check=True, env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"})
    return 0


if __name__ == "__main__":
    sys.exit(main())
