"""Figures as SVG: short, and still what an XML reader takes."""

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
