"""Rooms import each other in one direction, and the command line starts without heavy libraries."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("splits", "gen", "analysis")
FILES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
HEAVY = ("torch", "open_clip", "polars", "cv2", "matplotlib", "scipy", "numpy")


def name_of(path: Path) -> str:
    """Dotted name of a module, from the root of the repository."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def imported(tree: ast.AST) -> Iterator[str]:
    """Dotted names of all modules, and of what is taken from them, that a syntax tree imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def importers(*names: str, of: str = "") -> set[str]:
    """Modules, within the package `of`, that import one of `names` or something in them."""
    prefixes = tuple(f"{name}." for name in names)
    return {
        name_of(path)
        for path in FILES
        if f"{name_of(path)}.".startswith(of)
        and any(f"{name}.".startswith(prefixes) for name in imported(ast.parse(path.read_text())))
    }


def test_the_rooms_are_not_empty() -> None:
    assert {name_of(path).split(".")[0] for path in FILES} == set(ROOMS)
    assert "gen.training.step" in importers("torch")
    assert "gen.sweep.study" in importers("splits.mixture", of="gen.sweep.")


@pytest.mark.parametrize("name", ["gen", "analysis", "torch", "cv2", "open_clip"])
def test_splits_knows_tables_and_nothing_else(name: str) -> None:
    assert importers(name, of="splits.") == set()


def test_gen_imports_analysis_in_the_command_line_only() -> None:
    assert {name.rsplit(".", 1)[0] for name in importers("analysis", of="gen.")} == {"gen.commands"}


COMMANDS = sorted([ROOT / "gen" / "cli.py", *(ROOT / "gen" / "commands").glob("*.py")])


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: path.stem)
def test_the_command_line_imports_a_room_when_it_is_called(path: Path) -> None:
    tree = ast.parse(path.read_text())
    outer = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {name for node in outer for name in imported(node)}
    allowed = ("splits.errors.", "splits.files.", "gen.commands.")
    heavy = {name for name in names if name.split(".")[0] in {*ROOMS, *HEAVY}}
    assert not {name for name in heavy if not name.startswith(allowed)}


def test_nothing_but_the_command_line_imports_the_command_line() -> None:
    assert importers("gen.cli") == set()
    assert {name for name in importers("gen.commands") if not name.startswith("gen.c")} == set()


def test_a_sweep_knows_commands_and_files_but_no_stages() -> None:
    assert importers("gen.stages", "gen.training.loop", "analysis", of="gen.sweep.") == set()
    assert importers("torch", "open_clip", of="gen.sweep.") == set()


def test_the_report_reads_files_and_no_models() -> None:
    assert importers("torch", "gen.models", "gen.sweep", of="analysis.report.") == set()


def loaded_by(module: str) -> set[str]:
    """Heavy libraries that a fresh process has loaded after importing `module`."""
    code = f"import sys, {module}; print(*sys.modules)"
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(process.stdout.split()) & set(HEAVY)


def test_importing_the_command_line_loads_no_heavy_library() -> None:
    assert loaded_by("gen.cli") == set()


def test_the_configuration_and_the_schedule_need_no_torch() -> None:
    assert loaded_by("gen.config, gen.training.schedule") == set()


def test_every_verb_of_the_makefile_has_its_line_of_help() -> None:
    text = (ROOT / "Makefile").read_text()
    verbs = re.findall(r"^\.PHONY: (.+)$", text, flags=re.MULTILINE)
    assert len(verbs) > 10
    for verb in verbs:
        assert re.search(rf"^{verb}:.* ## \S", text, flags=re.MULTILINE), verb
