"""What readers see of mixtures beside the figures: their cells in words and in tables of text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl
from markupsafe import Markup

from analysis.report.split_manifests import MATRICES, Manifest
from analysis.report.summary import MINUS, percent, setting_label
from analysis.report.views import View, count, short_hash

NOTHING = "–"
EXTREMES = 8
"""cells that the table of the largest and smallest ones shows of each"""
COUNTS = [key for key in MATRICES if key != "exposure"]


def facts(manifest: Manifest) -> dict[str, str]:
    """What a mixture is made of, by label."""
    of = manifest.facts
    held_out = ", ".join(manifest.held_out) or "none"
    return {
        "Setting": of["setting"],
        "Rule": _pairs(of["rule"], without=("name", "description")),
        "Test domain": of["test_domain"],
        "Held-out classes": f"{len(manifest.held_out)} (draw {of['draw']}): {held_out}",
        "Samples": count(of["size"]),
        "Base": _base(of["base"]),
        "Effective domains": (
            f"{manifest.effective_domains:.2f} of {len(manifest.domains)} "
            "(exponential of the entropy of their shares)"
        ),
        "Budget": _pairs(of["budget"], without=() if of["budget"].get("total") else ("total",)),
        "Captions": of["caption"],
        "Mixture sha256": of["sha256"],
        "Dataset sha256": of["dataset_sha256"],
    }


def _pairs(values: Mapping[str, Any], without: tuple[str, ...] = ()) -> str:
    """`key value` of everything that says something."""
    told = {key: value for key, value in values.items() if value not in (None, [], "")}
    return ", ".join(
        f"{key.replace('_', ' ')} {_in_short(value)}"
        for key, value in told.items()
        if key not in without
    )


def _in_short(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and abs(value) >= 1000:
        return count(value)
    if isinstance(value, list):
        plain = all(isinstance(item, str) for item in value)
        return " + ".join(value) if plain else f"({len(value)} lines of a matrix)"
    return str(value)


def _base(base: dict[str, Any] | None) -> str:
    if base is None:
        return "none"
    samples = count(base.get("samples"))
    name, sha256 = base.get("name"), short_hash(base.get("sha256"))
    return f"{name}: all of its {samples} samples, on top (sha256 {sha256})"


# ---------------------------------------------------------------------------- exposure


def exposure_lines(manifest: Manifest) -> list[str]:
    """What the setting shows, in words: one line for all domains that it treats alike."""
    alike: dict[str, list[str]] = {}
    for domain in manifest.domains:
        cells = manifest.cells.filter(domain=domain)
        roles = {manifest.facts["natural"]: " (natural)", manifest.facts["test_domain"]: " (test)"}
        alike.setdefault(_shown(cells), []).append(domain + roles.get(domain, ""))
    return [f"{', '.join(domains)}: {what}." for what, domains in alike.items()]


def _shown(cells: pl.DataFrame) -> str:
    """What is shown of one domain."""
    parts = {flag: cells.filter(pl.col("held_out") == flag)["exposure"] for flag in (False, True)}
    words = {flag: _share(values) for flag, values in parts.items() if len(values)}
    if len(set(words.values())) == 1 and cells["exposure"].n_unique() == 1:
        whole = {"all samples": "all samples of every class", "nothing": "nothing"}
        (word,) = set(words.values())
        return whole.get(word, f"{word} of every class")
    names = {False: "seen classes", True: "held-out classes"}
    return "; ".join(f"of the {names[flag]} {word}" for flag, word in words.items())


def _share(exposure: pl.Series) -> str:
    shown = exposure.filter(exposure > 0)
    if shown.is_empty():
        return "nothing"
    least, most = float(shown.min()), float(shown.max())  # type: ignore[arg-type]
    share = "all samples" if least == 1 else f"{percent(least)} of the samples"
    if least != most:
        share = f"{percent(least)} to {percent(most)} of the samples"
    few = len(shown) < len(exposure)
    return share + (f" ({len(shown)} of {len(exposure)} classes)" if few else "")


# ---------------------------------------------------------------------------- one mixture


def domains_view(manifest: Manifest) -> View:
    """Available, requested, realised and trimmed samples per domain, of seen + held-out classes."""
    rows = []
    for label, cells in [
        *((domain, manifest.cells.filter(domain=domain)) for domain in manifest.domains),
        ("all", manifest.cells),
    ]:
        sums = cells.select(
            pl.col(key).filter(pl.col("held_out") == flag).sum().alias(f"{key} {flag}")
            for key in COUNTS
            for flag in (False, True)
        ).row(0, named=True)
        pairs = [f"{count(sums[f'{key} False'])} + {count(sums[f'{key} True'])}" for key in COUNTS]
        share = _total(cells) / max(1, manifest.facts["size"])
        rows.append([label, *pairs, count(_total(cells)), percent(share)])
    columns = ["Domain", "Available", "Requested", "Realised", "Trimmed", "In all", "Share"]
    caption = (
        "Training samples per domain, of seen + of held-out classes: what the dataset has, what "
        "the setting asks for, what the mixture holds, and what was taken off after rounding."
    )
    return View(caption, columns, rows)


def extremes_view(manifest: Manifest) -> View:
    """The largest and the smallest cells that hold samples, and what the others are."""
    full = manifest.cells.filter(pl.col("realised") > 0)
    ranked = full.sort("realised", descending=True, maintain_order=True)
    few = min(EXTREMES, (ranked.height + 1) // 2)
    smallest = full.sort("realised", maintain_order=True).head(few)
    rows = [
        [which, row["domain"], row["class_name"], *(count(row[key]) for key in COUNTS)]
        for which, table in (("largest", ranked.head(few)), ("smallest", smallest))
        for row in table.iter_rows(named=True)
    ]
    hidden = manifest.cells.filter(pl.col("exposure") == 0).height
    empty = manifest.cells.height - hidden - full.filter(pl.col("exposure") > 0).height
    caption = (
        f"The largest and smallest of the {count(full.height)} cells that hold samples. Of all "
        f"{count(manifest.cells.height)} cells the setting does not show {count(hidden)}; shown, "
        f"but without a sample: {count(empty)}."
    )
    columns = ["Cells", "Domain", "Class", *(key.capitalize() for key in COUNTS)]
    return View(caption, columns, rows, headers=3)


# ---------------------------------------------------------------------------- several mixtures


def index_view(manifests: Mapping[str, Manifest], links: Mapping[str, str]) -> View:
    """One row per mixture, each with a link to its page.

    Args:
        manifests: by name.
        links: relative address of each one's page.
    """
    rows = []
    for name, manifest in manifests.items():
        of, cells = manifest.facts, manifest.cells
        shown = cells.group_by("domain").agg(pl.col("realised").sum()).filter(realised=0)
        test = cells.filter(domain=of["test_domain"])
        rows.append(
            [
                Markup('<a href="{}">{}</a>').format(links[name], setting_label(of["setting"])),
                of["test_domain"],
                str(of["draw"]),
                count(of["size"]),
                f"{len(manifest.domains) - shown.height} of {len(manifest.domains)}",
                f"{manifest.effective_domains:.2f}",
                *(count(_total(test.filter(held_out=flag))) for flag in (False, True)),
                short_hash(of["sha256"]),
            ]
        )
    columns = ["Setting", "Test domain", "Draw", "Samples", "Domains shown", "Effective domains"]
    columns += ["Test domain, seen classes", "Test domain, held-out classes", "sha256"]
    caption = "Mixtures. Equal hashes: the same samples. Effective domains: see the mixture's page."
    return View(caption, columns, rows, headers=2)


def compared_facts_view(first: Manifest, second: Manifest) -> View:
    """The facts of two mixtures side by side, but for those that are equal."""
    a, b = (
        {
            key: short_hash(text) if key.endswith("sha256") else text
            for key, text in facts(manifest).items()
        }
        for manifest in (first, second)
    )
    rows = [[key, a[key], b[key]] for key in a if a[key] != b[key]]
    return View("Where the two differ.", ["What", "A", "B"], rows, headers=3)


def compared_view(cells: pl.DataFrame, shared: Mapping[str | None, tuple[int, int]]) -> View:
    """Counts of two mixtures per domain and class set, and the ids that both hold.

    Args:
        cells: `domain`, `held_out`, `a`, `b`.
        shared: domain → number of different ids in both, and in at least one; None: all domains.
    """
    rows = []
    for domain in (*cells["domain"].unique(maintain_order=True), None):
        some = cells if domain is None else cells.filter(domain=domain)
        parts = [some.filter(held_out=flag) for flag in (False, True)]
        both, either = shared.get(domain, (0, 0))
        rows.append(
            [
                domain or "all",
                *_change(_total(some, "a"), _total(some, "b")),
                *(f"{count(_total(part, 'a'))} → {count(_total(part, 'b'))}" for part in parts),
                count(both),
                f"{both / either:.3f}" if either else NOTHING,
            ]
        )
    columns = ["Domain", "A", "B", "B − A", "B / A", "Seen classes", "Held-out classes"]
    caption = (
        "Training samples per domain. Shared: different ids that both hold; Jaccard: their share "
        "of all different ids. Held-out: in A or in B."
    )
    return View(caption, [*columns, "Shared ids", "Jaccard"], rows)


def changed_cells_view(cells: pl.DataFrame) -> View:
    """The cells in which two mixtures differ most.

    Args:
        cells: `domain`, `class_name`, `a`, `b`.
    """
    changed = cells.filter(pl.col("a") != pl.col("b"))
    change = (pl.col("b") - pl.col("a")).abs()
    most = changed.sort(change, descending=True, maintain_order=True).head(2 * EXTREMES)
    rows = [
        [row["domain"], row["class_name"], *_change(row["a"], row["b"])]
        for row in most.iter_rows(named=True)
    ]
    caption = (
        f"{count(changed.height)} of {count(cells.height)} cells differ; those that differ most."
    )
    return View(caption, ["Domain", "Class", "A", "B", "B − A", "B / A"], rows, headers=2)


def _total(cells: pl.DataFrame, key: str = "realised") -> int:
    return int(cells[key].sum())


def _change(a: int, b: int) -> list[str]:
    """Two counts, their difference and their ratio."""
    difference = f"{b - a:+,}".replace(",", "\N{NARROW NO-BREAK SPACE}").replace("-", MINUS)
    return [count(a), count(b), difference if a != b else "0", f"{b / a:.2f}" if a else NOTHING]
