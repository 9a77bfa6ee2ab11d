"""What an audit says is said once, with a number that a reader can trust, and with its advice."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from gen.auditing.page import (
    MOST_PER_CHECK,
    audit_markdown,
    grouped,
    refuse_errors,
    summary,
    summary_lines,
)
from gen.auditing.study import Audit
from splits.errors import UserError
from splits.findings import CHECKS, finding, findings_table, not_checked


def audit_of(*rows: dict) -> Audit:
    statistics = pl.DataFrame({"mixture": ["a"]})
    nothing = pl.DataFrame()
    return Audit(findings_table(rows), statistics, nothing, None, None, None)


def row_of(audit: Audit, check: str, severity: str) -> dict:
    table = summary(audit.findings).filter(check=check, severity=severity)
    return table.row(0, named=True)


def shared(names: list[str], mixtures: int) -> list[dict]:
    """The same tested images in several mixtures."""
    detail = "of 9 test images of held-out classes are in the mixture"
    return [
        finding("held_out_image_in_mixture", names, detail, mixture=f"m{i}")
        for i in range(mixtures)
    ]


def test_an_image_in_many_mixtures_counts_once_and_the_row_says_what_it_counts() -> None:
    other = finding("held_out_image_in_mixture", ["x", "z"], "of 9 images", mixture="last")
    row = row_of(
        audit_of(*shared(["x", "y"], 5), other), "held_out_image_in_mixture", severity="error"
    )
    assert (row["where"], row["count"], row["of"]) == ("6 mixtures", 3, "test images")


def test_the_same_finding_of_many_mixtures_is_one_bullet_that_names_them() -> None:
    audit = audit_of(*shared(["x"], 14))
    assert grouped(audit.findings).height == 1
    bullets = [line for line in audit_markdown(audit).splitlines() if line.startswith("- ")]
    assert bullets == [
        "- **error** `held_out_image_in_mixture` in each of 14 mixtures (m0, m1, m2 and 11 more): "
        "1 of 9 test images of held-out classes are in the mixture (for example x)"
    ]


def test_many_different_findings_of_a_check_are_cut_and_hide_no_other_check() -> None:
    many = [finding("empty_cell", [f"real/{i}"], "cells", mixture=f"m{i}") for i in range(40)]
    page = audit_markdown(audit_of(*many, finding("near_duplicate", [], "pairs", count=7)))
    bullets = [line for line in page.splitlines() if line.startswith("- ")]
    assert len(bullets) == MOST_PER_CHECK + 2
    assert "- and 37 more of `empty_cell`: findings.csv has them all" in bullets
    assert "`near_duplicate` in dataset: 7 pairs" in bullets[-1]


def test_the_terminal_and_the_page_name_the_same_places() -> None:
    audit = audit_of(
        *shared(["x"], 2),
        finding("near_duplicate", [], "pairs", count=7),
        finding("caption_leak", [], "captions", count=3),
    )
    page, lines = audit_markdown(audit), summary_lines(audit)
    for check, place in (
        ("held_out_image_in_mixture", "2 mixtures"),
        ("near_duplicate", "dataset"),
        ("caption_leak", "base"),
    ):
        assert f"| {check} | {place} |" in page
        assert any(check in line and place in line for line in lines)


def test_images_that_were_not_compared_are_counted_as_images() -> None:
    audit = audit_of(
        not_checked("near_duplicate", "not compared: flat", count=4),
        finding("near_duplicate", [], "pairs", count=9),
    )
    row = row_of(audit, "near_duplicate", "not_checked")
    assert (row["count"], row["of"], row["to do"]) == (4, "images", "not compared: flat")


def test_a_refusal_has_an_advice_for_every_check_that_failed_and_says_how_much_it_leaves_out() -> (
    None
):
    ids = [finding("unknown_id", [f"i{i}"], "ids", mixture=f"m{i}") for i in range(8)]
    hidden = finding("held_out_cell", ["s"], "samples", mixture="m0")
    with pytest.raises(UserError) as caught:
        refuse_errors(audit_of(*ids, hidden), Path("audit"))
    message = str(caught.value)
    assert "held_out_cell in m0: 1 samples (s)" in message  # though eight others came before it
    assert message.count("unknown_id in ") == 4
    assert "and 4 more" in message
    for check in ("unknown_id", "held_out_cell"):
        assert f"{check}: {CHECKS[check].advice}" in caught.value.fix
    assert caught.value.fix.count(CHECKS["unknown_id"].advice) == 1


def test_warnings_refuse_nothing() -> None:
    refuse_errors(audit_of(finding("near_duplicate", [], "pairs", count=7)), Path("audit"))


def test_no_two_checks_share_an_advice() -> None:
    assert len({check.advice for check in CHECKS.values()}) == len(CHECKS)
