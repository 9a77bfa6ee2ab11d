"""Make the referee's environment: CLIP_benchmark before the packages of the project's own.

    .venv/bin/python tests/referee/environment.py .venv-referee

CLIP_benchmark pins what the project does not, so it is installed without its dependencies; what
else it imports (torch, open_clip, …) is found in the environment of the Python that runs this.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

REQUIREMENTS = Path(__file__).with_name("requirements.txt")


def make_environment(folder: Path) -> None:
    """Make the environment anew in `folder`."""
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*install, "--no-deps", "-r", REQUIREMENTS], check=True)
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    found = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True)
    (Path(found.stdout.strip()) / "zz.pth").write_text(sysconfig.get_path("purelib") + "\n")
    subprocess.run([python, "-c", "import clip_benchmark.cli"], check=True)
    (folder / ".ready").touch()


if __name__ == "__main__":
    make_environment(Path(sys.argv[1]))
