"""Pages from the templates of this folder: one file each that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from pathlib import Path

import jinja2
from markupsafe import Markup, escape

from analysis.report.section import Chart, Links, Table, Text
from analysis.report.views import MISSING, View

HERE = Path(__file__).parent
SMALLEST, LARGEST = 1.0, 1.42  # pixels per point of a figure


def render(template: str, content: dict) -> str:
    """A template of this folder with its content, our style, and the script that sorts tables."""
    return _environment().get_template(template).render(content)


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=lambda name: bool(name) and ".html" in str(name),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    script = (HERE / "sorting.js").read_text(encoding="utf-8")
    environment.globals.update(
        MISSING=MISSING,
        style=Markup((HERE / "style.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=Markup(script_hash(script)),
    )
    environment.filters.update(inline_svg=inline_svg, markdown=_markdown, anchor=_anchor)
    kinds = {"a_text": Text, "a_chart": Chart, "a_table": Table, "links": Links}
    environment.tests.update(
        {name: lambda part, kind=kind: isinstance(part, kind) for name, kind in kinds.items()}
    )
    return environment


def script_hash(script: str) -> str:
    """The source by which a page's security policy allows this script and no other."""
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def inline_svg(svg: str, label: str) -> Markup:
    """An SVG document as an element of a page, with a label for those who do not see it.

    It may shrink or grow a little with the page: all figures of a page keep one size of letters.
    """
    element = svg[svg.index("<svg") :]
    width = float(element.split('width="', 1)[1].split("pt", 1)[0])
    style = f"min-width: {SMALLEST * width:.0f}px; max-width: {LARGEST * width:.0f}px"
    opening = f'<svg role="img" aria-label="{escape(label)}" style="{style}"'
    return Markup(element.replace("<svg", opening, 1))


def _anchor(title: str) -> str:
    """The id of a section: its title in letters that addresses may have."""
    return "part-" + re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def _markdown(view: View) -> str:
    """A view as a Markdown table."""
    lines = [view.columns, ["---"] * len(view.columns), *view.rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
    )
