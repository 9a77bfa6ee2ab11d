"""The pages of a study's mixtures: one each, an index over all, and two side by side.

They are made from manifests alone; only the ids that two mixtures share need their tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

import polars as pl

from analysis.report.figures import svg_text
from analysis.report.rendering import render
from analysis.report.split_figures import (
    MOST_PANELS,
    comparison_figure,
    mixture_figure,
    overview_figure,
)
from analysis.report.split_manifests import Manifest
from analysis.report.split_views import (
    changed_cells_view,
    compared_facts_view,
    compared_view,
    domains_view,
    exposure_lines,
    extremes_view,
    facts,
    index_view,
)
from analysis.report.views import count, short_hash
from splits.errors import UserError, unknown
from splits.files import write_text

REBUILD = "delete the mixture's folder and build it again: clipgen split build STUDY"


def write_split_pages(
    manifests: Mapping[str, Manifest], problems: Mapping[str, str], folder: Path, study: str
) -> Iterator[Path]:
    """Write a page per mixture and `index.html`, each as a whole; equal content, equal bytes.

    Args:
        manifests: by name.
        problems: what is wrong with other mixtures, by name; told on the index.
        folder: where to write.
        study: name of the study.

    Yields:
        The path of every page when it is written; `index.html` is the last.
    """
    for name, manifest in manifests.items():
        path = folder / f"{name}.html"
        write_text(path, _page(manifest, study))
        yield path
    path = folder / "index.html"
    write_text(path, _index(manifests, problems, study))
    yield path


def _page(manifest: Manifest, study: str) -> str:
    of = manifest.facts
    figure = mixture_figure(manifest.cells, test_domain=of["test_domain"], natural=of["natural"])
    description = of["rule"].get("description") or ""
    content = {
        "name": manifest.name,
        "study": study,
        "description": description[:1].upper() + description[1:] + "." * bool(description),
        "exposure": exposure_lines(manifest),
        "figures": {"mixture": svg_text(figure, "mixture")},
        "domains": domains_view(manifest),
        "extremes": extremes_view(manifest),
        "notes": of["notes"],
        "facts": facts(manifest),
    }
    return render("split.html.j2", content)


def _index(manifests: Mapping[str, Manifest], problems: Mapping[str, str], study: str) -> str:
    figures = {}
    if manifests:
        figure = overview_figure({name: manifest.cells for name, manifest in manifests.items()})
        figures["overview"] = svg_text(figure, "overview")
    many = len(manifests) > MOST_PANELS
    links = {name: f"{quote(name)}.html" for name in manifests}
    content = {
        "study": study,
        "problems": list(problems.values()),
        "table": index_view(manifests, links),
        "figures": figures,
        "shown": f"the first {MOST_PANELS} of {len(manifests)} mixtures"
        if many
        else "all mixtures",
        "draws": held_out_lines(manifests),
        "names": list(manifests)[:2],
    }
    return render("split_index.html.j2", content)


def held_out_lines(manifests: Mapping[str, Manifest]) -> list[str]:
    """The held-out classes of every draw, one line each."""
    draws = {manifest.facts["draw"]: manifest.held_out for manifest in manifests.values()}
    return [
        f"held-out classes ({len(names)})"
        + (f", draw {draw}" if len(draws) > 1 else "")
        + f": {', '.join(names)}"
        for draw, names in sorted(draws.items())
    ]


def summary_lines(manifests: Mapping[str, Manifest], problems: Mapping[str, str]) -> list[str]:
    """What every mixture holds, one line per domain, for a terminal."""
    lines = held_out_lines(manifests)
    for manifest in manifests.values():
        of = manifest.facts
        draw = f", draw {of['draw']}" if of["draw"] else ""
        lines += [
            "",
            f"{of['setting']}, test domain {of['test_domain']}{draw}: {of['size']} samples, "
            f"sha256 {short_hash(of['sha256'])}",
        ]
        width = max(12, *map(len, manifest.domains))
        for domain in manifest.domains:
            cells = manifest.cells.filter(domain=domain)
            seen, held_out = (
                cells.filter(held_out=flag)["realised"].sum() for flag in (False, True)
            )
            lines.append(f"  {domain:<{width}} seen {seen:>7}   held-out {held_out:>6}")
        if of["base"]:
            lines.append(
                f"  and all {of['base'].get('samples')} samples of {of['base'].get('name')}"
            )
    return [*lines, *(f"damaged or absent: {problem}" for problem in problems.values())]


# ---------------------------------------------------------------------------- two side by side


def write_comparison(
    manifests: Mapping[str, Manifest],
    problems: Mapping[str, str],
    mixtures: Path,
    pair: Sequence[str],
    study: str,
) -> Path:
    """Write `compare-A-vs-B.html` into the folder `splits` beside the mixtures.

    Args:
        manifests, problems: of all mixtures of the study.
        mixtures: the study's folder of mixtures, whose tables tell the shared ids.
        pair: names of A and B.
        study: name of the study.

    Raises:
        UserError: a mixture is unknown or damaged, or the two are of different datasets.
    """
    for name in pair:
        if name in problems:
            raise UserError(problems[name], where=str(mixtures), fix=REBUILD)
        if name not in manifests:
            raise unknown("mixture", name, manifests, where=str(mixtures))
    first, second = (manifests[name] for name in pair)
    cells = _both(first, second)
    shared = shared_ids(*(mixtures / name / "mixture.parquet" for name in pair))
    figure = comparison_figure(cells, first.name, second.name)
    content = {
        "study": study,
        "names": pair,
        "lead": _lead(first, second, shared[None]),
        "order": _order(first, second),
        "figures": {"comparison": svg_text(figure, "comparison")},
        "table": compared_view(cells, shared),
        "changed": changed_cells_view(cells),
        "differing": compared_facts_view(first, second),
    }
    path = mixtures.parent / "splits" / f"compare-{first.name}-vs-{second.name}.html"
    write_text(path, render("split_compare.html.j2", content))
    return path


def _both(first: Manifest, second: Manifest) -> pl.DataFrame:
    """The cells of two mixtures: samples `a` and `b`, `exposure_a` and `exposure_b`."""
    if (first.domains, first.classes) != (second.domains, second.classes):
        raise UserError(
            f"mixtures `{first.name}` and `{second.name}` have different domains or classes",
            expected="two mixtures of one dataset",
        )
    return first.cells.select(
        "domain",
        "class_name",
        pl.col("held_out") | second.cells["held_out"],
        pl.col("exposure").alias("exposure_a"),
        second.cells["exposure"].alias("exposure_b"),
        pl.col("realised").alias("a"),
        second.cells["realised"].alias("b"),
    )


def shared_ids(first: Path, second: Path) -> dict[str | None, tuple[int, int]]:
    """Count the different ids of two mixtures.

    Args:
        first, second: their tables, mixture.parquet.

    Returns:
        Domain, or None for all domains → number of ids in both, and in at least one.

    Raises:
        UserError: a table cannot be read.
    """
    columns = [pl.col("domain").cast(pl.String), pl.col("id")]
    try:
        tables = [pl.read_parquet(path, columns=["id", "domain"]) for path in (first, second)]
        different = [table.select(columns).unique() for table in tables]
    except (OSError, pl.exceptions.PolarsError) as error:
        raise UserError(
            f"a mixture's table cannot be read: {str(error).splitlines()[0]}",
            where=f"{first}, {second}",
            fix=REBUILD,
        ) from None
    holders = pl.concat(different).group_by("domain", "id").len()
    counts = holders.group_by("domain").agg((pl.col("len") == 2).sum().alias("both"), pl.len())
    found = {domain: (both, either) for domain, both, either in counts.sort("domain").rows()}
    totals = [sum(pair[place] for pair in found.values()) for place in (0, 1)]
    return {**found, None: (totals[0], totals[1])}


def _lead(first: Manifest, second: Manifest, shared: tuple[int, int]) -> str:
    sizes = [count(manifest.facts["size"]) for manifest in (first, second)]
    both, either = shared
    jaccard = f"; Jaccard index {both / either:.3f}" if either else ""
    return (
        f"A holds {sizes[0]} samples, B {sizes[1]}. "
        f"They share {count(both)} of {count(either)} different ids{jaccard}."
    )


def _order(first: Manifest, second: Manifest) -> str:
    """Where the held-out classes stand."""
    if first.held_out == second.held_out:
        return "Held-out classes, the same in both, stand in the panels at the right."
    return (
        f"A holds out {len(first.held_out)} classes and B {len(second.held_out)}, "
        f"{len(set(first.held_out) & set(second.held_out))} of them the same; all stand in the "
        "panels at the right."
    )
