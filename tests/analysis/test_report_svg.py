"""Figures as SVG: short, and still what an XML reader takes."""

import re
from xml.etree import ElementTree

from matplotlib.figure import Figure

from analysis.report.figures import svg_text

TEXTS = ["one line", "two lines; the first has a semicolon:\nthe second one, too", "<b> & 'c'"]


def test_every_text_of_a_figure_can_be_read_again():
    figure = Figure(figsize=(4, 3))
    for place, text in enumerate(TEXTS):
        figure.text(0.1, 0.2 + place / 4, text, fontsize=8, rotation=5 * place)
    root = ElementTree.fromstring(svg_text(figure, "texts"))
    found = [node.text for node in root.iter("{http://www.w3.org/2000/svg}text")]
    assert found == [line for text in TEXTS for line in text.splitlines()]
    assert "DejaVu Sans" in root.attrib["font-family"]
    assert svg_text(figure, "texts").count("DejaVu Sans") == 1


def test_lines_keep_their_points_and_markers_their_form():
    figure = Figure(figsize=(4, 3))
    axes = figure.subplots()
    axes.set(xlim=(0, 4), ylim=(0, 3), position=(0, 0, 1, 1))
    axes.plot([1, 2, 3.00391], [1, 2, 1.00391], marker="o", markersize=3)
    text = svg_text(figure, "line")
    assert 'd="M 72 144 144 72 216.2 143.7' in text  # pairs after the first are lines (SVG 1.1)
    assert re.search(r'd="M 0 1.5\s+C 0.39\d* 1.5', text)
