"""The sections on circuits and causes that a study has tables for, in the order of reading."""

from __future__ import annotations

import polars as pl

from analysis.report.cause_sections import causes_section
from analysis.report.circuit_sections import answer_section, scores_section
from analysis.report.circuit_tables import circuit_pairs
from analysis.report.faithfulness_section import faithfulness_section, parts_section
from analysis.report.section import Section
from analysis.report.sharing_tables import sharing
from analysis.report.study import StudyResults


def circuit_sections(results: StudyResults, accuracies: pl.DataFrame) -> list[Section]:
    """Which parts carry a class, whether they are circuits, what changing them does, and answers.

    Args:
        results: of the study.
        accuracies: `contrasts.contrasts` of it.
    """
    pairs = circuit_pairs(results)
    means = sharing(pairs)
    sections = [
        scores_section(results, pairs, means),
        faithfulness_section(results),
        parts_section(results),
        causes_section(results),
        answer_section(results, pairs, means, accuracies),
    ]
    return [section for section in sections if section is not None]
