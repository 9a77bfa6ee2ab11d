"""What the intervals of sharing allow to say, in words, and what stands below its figures."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from analysis.report.contrasts import CONTRASTS
from analysis.report.study import StudyResults
from analysis.report.study_plan import StudyPlan
from analysis.report.summary import ALPHA, MINUS, NO_BREAK_SPACE, setting_label
from analysis.report.tables import missing_runs
from gen.runs import Target

MEASURES = {
    "cka": "CKA",
    "cka_rbf": "CKA with an RBF kernel",
    "cka_nc": "noise-corrected CKA",
    "s_id": "same-basis alignment S_id",
    "s_id_nc": "noise-corrected same-basis alignment S_id",
    "s_rot": "alignment after the best rotation S_rot",
    "rot_minus_id": "gap S_rot − S_id",
    "knn": "overlap of nearest neighbours",
    "cka_minus_pcs": "CKA without the largest principal components",
    "participation_ratio": "participation ratio",
    "jaccard": "Jaccard index of the strongest tenths",
    "jaccard_norm": "normalised Jaccard index of the strongest tenths",
    "css": "Circuit Shift Score",
    "cosine_nc": "noise-corrected cosine of scores",
}
NO_NUMBER = "not estimable"
REFERENCES = {"chance": "chance", "ceiling": "the ceiling", "floor": "the untrained network"}
"""what sharing is held against"""
CLASS_WORDS = {"all": "classes", "seen": "seen classes", "held_out": "held-out classes"}


def measure_label(measure: str) -> str:
    """A measure's name for readers."""
    return MEASURES.get(measure, measure.replace("_", " "))


def number(value: float) -> str:
    """A similarity as readers see it: two digits, with a minus sign."""
    rounded = round(value, 2)
    return f"{rounded if rounded else 0:.2f}".replace("-", MINUS)


def signed(value: float) -> str:
    """A difference of similarities, with its sign."""
    rounded = round(value, 2)
    return f"{rounded if rounded else 0:+.2f}".replace("-", MINUS)


def sharing_paragraphs(
    results: StudyResults, means: pl.DataFrame, plain: pl.DataFrame, changes: pl.DataFrame
) -> list[str]:
    """One paragraph per test domain: every setting, then what settings differ in; then a caveat.

    Args:
        results: of the study.
        means: `sharing_floor.with_floors`, rows of the primary site, measure and class set.
        plain: the same of the measure without correction for noise; empty where it has none.
        changes: `sharing_tables.differences`, the same rows.
    """
    paragraphs = []
    for test_domain in results.plan.test_domains:
        here, beside = (
            table.filter(test_domain=test_domain, pairs="with_test_domain")
            for table in (means, plain)
        )
        told = _by_site(here, tuple(REFERENCES))
        if told:
            told += _before_training(here, beside)
            told += comparisons(results, test_domain, changes.filter(test_domain=test_domain))
            paragraphs.append(" ".join(told))
    return [*paragraphs, replicates_sentence(results.plan)] if paragraphs else []


# ---------------------------------------------------------------------------- settings


def _by_site(rows: pl.DataFrame, against: Sequence[str]) -> list[str]:
    return [
        site_sentence(of_site, against)
        for _, of_site in rows.group_by("level", "site", maintain_order=True)
    ]


def _before_training(rows: pl.DataFrame, plain: pl.DataFrame) -> list[str]:
    """The measure without its correction beside its floor, where that is of more pairs."""
    plain = plain.filter(pl.col("floor_pairs") > 0)
    rows = rows.join(plain.select("run", "draw", "site"), on=["run", "draw", "site"], how="semi")
    if plain["floor_pairs"].sum() <= rows["floor_pairs"].sum():
        return []
    known = f"{_ends(rows['floor_pairs'].to_list())} of {_counts(rows, 'n_pairs', 'pair')}"
    told = f"Before training {known} had this number, and more without correction for noise."
    return [told, *_by_site(plain, ("floor",))]


def site_sentence(
    rows: pl.DataFrame, against: Sequence[str] = ("chance", "ceiling", "floor"), what: str = ""
) -> str:
    """Where sharing lies: against chance, its ceiling, and an untrained network.

    Settings of which the same can be said stand together. Several runs of a setting are counted.

    Args:
        rows: of one test domain, site and class set of `sharing_floor.with_floors`, a row per run
            and draw.
        against: which of REFERENCES it is held against.
        what: it is of; empty for pairs with the test domain.
    """
    first = rows.row(0, named=True)
    pairs = "" if what else f"means of {_counts(rows, 'n_pairs', 'pair')}, "
    what = what or f"pairs with {first['test_domain']}"
    opening = (
        f"At {first['site']} the {measure_label(first['measure'])} of {what} "
        f"({pairs}{_counts(rows, 'n', CLASS_WORDS[first['classes']])})"
    )
    alone: dict[tuple[str, ...], list[dict]] = {}
    counted: dict[str, list[str]] = {}
    for _, of_setting in rows.group_by("setting", maintain_order=True):
        if of_setting.height == 1:
            row = of_setting.row(0, named=True)
            alone.setdefault(_verdicts(row, against), []).append(row)
        else:
            verdict = _counted_verdict(of_setting, against)
            counted.setdefault(verdict, []).append(_named_mean(of_setting))
    told = [_together(verdicts, group) for verdicts, group in alone.items()]
    told += [f"{_list(names)}: {verdict}" for verdict, names in counted.items()]
    return f"{opening}: {'; '.join(told)}."


def _counts(rows: pl.DataFrame, key: str, word: str) -> str:
    """A number of things, or the least and the most where rows differ."""
    found = rows[key].filter(rows[key] > 0).to_list() or [0]
    return f"{_ends(found)} {word}{'s' if max(found) != 1 and not word.endswith('s') else ''}"


def _ends(counts: Sequence[int]) -> str:
    lowest, highest = min(counts), max(counts)
    return f"{lowest}" if lowest == highest else f"{lowest} to {highest}"


def _verdicts(row: dict, against: Sequence[str]) -> tuple[str, ...]:
    """What a row's interval says against every reference; the reason where there is no number."""
    if row["value"] is None:
        return (f"{NO_NUMBER} ({row['note']})" if row["note"] else NO_NUMBER,)
    if row["lo"] is None or row["hi"] is None:
        return ("without an interval",)
    return tuple(f"{name}: {_side(row, name)}" for name in _references(row) if name in against)


def _references(row: dict) -> dict[str, tuple[float, float]]:
    """The ends of what a row is held against, as far as they are known."""
    ends = {
        "chance": (row["chance_lo"], row["chance_hi"]),
        "ceiling": (row["ceiling"], row["ceiling"]),
        "floor": (row["floor"], row["floor"]),
    }
    if row["lo_floor"] is None or row["hi_floor"] is None:
        del ends["floor"]
    return {name: pair for name, pair in ends.items() if None not in pair}


def _side(row: dict, name: str) -> str:
    """On which side of a reference the whole interval lies; empty where they meet.

    The floor is held against the pairs that have one.
    """
    lowest, highest = _references(row)[name]
    lo, hi = (row["lo_floor"], row["hi_floor"]) if name == "floor" else (row["lo"], row["hi"])
    if lo > highest:
        return "above"
    return "below" if hi < lowest else ""


def _together(verdicts: tuple[str, ...], rows: Sequence[dict]) -> str:
    """Settings of which the same is said."""
    names = _list([_named_estimate(row) for row in rows])
    is_one = len(rows) == 1
    if rows[0]["value"] is None or rows[0]["lo"] is None or rows[0]["hi"] is None:
        return f"{names} {'is' if is_one else 'are'} {verdicts[0]}"
    parts = []
    for verdict in verdicts:
        name, _, side = verdict.partition(": ")
        verb = ("lies " if is_one else "lie ") + side if side else "cannot be told from"
        span = _span([_references(row)[name] for row in rows])
        parts.append((verb, f"{REFERENCES[name]} ({span}{_of_pairs(name, rows)})"))
    return f"{names} {_said(parts)}" if parts else names


def _of_pairs(name: str, rows: Sequence[dict]) -> str:
    """Of how many pairs a floor is, where others have none, and what these pairs have now."""
    if name != "floor" or all(row["floor_pairs"] == row["n_pairs"] for row in rows):
        return ""
    known, all_of_them = ([row[key] for row in rows] for key in ("floor_pairs", "n_pairs"))
    now = _span([(row["value_floor"], row["value_floor"]) for row in rows])
    return f" in {_ends(known)} of {_ends(all_of_them)} pairs, now {now}"


def _named_estimate(row: dict) -> str:
    label = setting_label(row["setting"])
    if row["value"] is None:
        return label
    if row["lo"] is None or row["hi"] is None:
        return f"{label} ({number(row['value'])})"
    interval = f"95{NO_BREAK_SPACE}% {number(row['lo'])} to {number(row['hi'])}"
    return f"{label} ({number(row['value'])}, {interval})"


def _span(ends: Sequence[tuple[float, float]]) -> str:
    """From the lowest to the highest of some bands."""
    lowest, highest = number(min(lo for lo, _ in ends)), number(max(hi for _, hi in ends))
    return lowest if lowest == highest else f"{lowest} to {highest}"


def _said(parts: Sequence[tuple[str, str]]) -> str:
    """Verbs with their objects; `lies` is said once as long as no other verb is between."""
    told, before = [], ""
    for verb, what in parts:
        first, _, rest = verb.partition(" ")
        told.append(f"{rest if first == before else verb} {what}")
        before = first if first in ("lie", "lies") else ""
    return _list(told)


def _list(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else words[0]


def _named_mean(rows: pl.DataFrame) -> str:
    """A setting with the mean of its runs, the smallest and the largest: no interval."""
    label, values = setting_label(rows["setting"][0]), rows["value"].drop_nulls().to_list()
    if not values:
        return label
    mean, ends = sum(values) / len(values), f"{number(min(values))} to {number(max(values))}"
    return f"{label} ({number(mean)} in the mean of {len(values)} draws and seeds, {ends})"


def _counted_verdict(rows: pl.DataFrame, against: Sequence[str]) -> str:
    """In how many runs of a setting what can be said: they are counted, not merged."""
    known = rows.drop_nulls("value").rows(named=True)
    told = []
    for name, side in (("chance", "above"), ("ceiling", "below"), ("floor", "above")):
        judged = [r for r in known if r["lo"] is not None and name in _references(r)]
        if judged and name in against:
            sure = sum(_side(row, name) == side for row in judged)
            told.append(f"{side} {REFERENCES[name]} in {sure} of {len(judged)}")
    if len(known) < rows.height:
        told.append(f"{NO_NUMBER} in {rows.height - len(known)} of {rows.height}")
    return ", ".join(told)


# ---------------------------------------------------------------------------- two settings


def comparisons(results: StudyResults, test_domain: str, changes: pl.DataFrame) -> list[str]:
    """A sentence per contrast that the study plans in a test domain."""
    planned = {setting for setting, target in results.plan.grid if target[0] == test_domain}
    told = []
    for contrast in CONTRASTS:
        names = [contrast.setting, contrast.baseline]
        if set(names) <= planned:
            rows = changes.filter(contrast=contrast.name)
            pair = [setting_label(name) for name in names]
            told.append(
                difference_sentence(rows, *pair)
                if rows.height
                else f"{_capital(pair[0])} and {pair[1]} cannot be compared: "
                f"{_why_none(results, names, test_domain)}."
            )
    return told


def difference_sentence(rows: pl.DataFrame, setting: str, baseline: str) -> str:
    """What the intervals of a contrast's differences allow to say.

    Args:
        rows: of one contrast, test domain and site of `sharing_tables.differences`, a row per
            draw and seed; at least one.
        setting, baseline: as readers call them.
    """
    if rows.height == 1:
        row = rows.row(0, named=True)
        if row["lo"] is None:
            apart = f"lie {signed(row['value'])} apart ({row['note']})"
            return f"{_capital(setting)} and {baseline} {apart}."
        shown = f"({signed(row['value'])}, 95{NO_BREAK_SPACE}% {signed(row['lo'])} to "
        shown += f"{signed(row['hi'])})"
        if row["lo"] <= 0 <= row["hi"]:
            return f"{_capital(setting)} and {baseline} cannot be told apart {shown}."
        side = "above" if row["lo"] > 0 else "below"
        return f"{_capital(setting)} lies {side} {baseline} {shown}."
    counts = {
        "above it": (rows["lo"] > 0).sum(),
        "below it": (rows["hi"] < 0).sum(),
        "not to be told apart": ((rows["lo"] <= 0) & (rows["hi"] >= 0)).sum(),
        "without an interval": rows["lo"].null_count(),
    }
    told = [f"{word} in {count}" for word, count in counts.items() if count]
    ends = f"{signed(rows['value'].min())} to {signed(rows['value'].max())}"  # type: ignore[arg-type]
    return (
        f"{_capital(setting)} against {baseline}, in {rows.height} pairs of the same draw and "
        f"seed: {', '.join(told)} (differences {ends})."
    )


def _why_none(results: StudyResults, settings: Sequence[str], test_domain: str) -> str:
    draws = range(len(results.plan.draws))
    missing = {
        run for n in draws for run in missing_runs(results, settings, Target(test_domain, n))
    }
    return f"not finished: {', '.join(sorted(missing))}" if missing else "no pair has both numbers"


def no_points_sentence(primary: tuple[str, str], points: pl.DataFrame) -> str:
    """Why there is nothing to say of sharing and accuracy.

    Args:
        primary: site and measure that the study names; an empty site for the last one before the
            embedding.
        points: `sharing_headline.points`, of which no primary row has both numbers.
    """
    site = primary[0] or "the last site before the embedding"
    here = points.filter("primary")
    if here.is_empty():
        names = points.sort("depth")["site"].unique(maintain_order=True).to_list()
        reason = f"no run has it; there are {_list(names)}, and the study names its site and "
        reason += "measure as `analysis.primary_site` and `analysis.primary_measure`"
    elif here["sharing"].count():
        reason = "no run that has it has an accuracy on held-out classes"
    else:
        notes = here["note"].filter(here["note"] != "").unique(maintain_order=True).to_list()
        reason = f"it is {NO_NUMBER} in any run" + (f" ({'; '.join(notes)})" if notes else "")
    what = f"{measure_label(primary[1])} at {site}"
    return f"Nothing is said of how the {what} goes with accuracy: {reason}."


def headline_sentence(row: dict) -> str:
    """What the regression on the primary site and measure says, without what it does not.

    Args:
        row: the primary one of `analysis.headline.headline`.
    """
    what = f"{measure_label(row['measure'])} at {row['site'] or 'the primary site'}"
    if row["beta"] is None:
        return f"Nothing is said of how the {what} goes with accuracy: {row['note']}."
    facts = (
        f"standardised slope {signed(row['beta'])}, 95{NO_BREAK_SPACE}% {signed(row['lo'])} to "
        f"{signed(row['hi'])} over {row['n']} {row['units']}s; {row['n_runs']} runs; R² "
        f"{signed(row['delta_r2'])}, by chance {signed(row['delta_chance'])}; p = {row['p']:.3g}"
    )
    if row["p"] > ALPHA:
        relation = "no relation of held-out accuracy can be told with the"
    else:
        relation = f"held-out accuracy is {'higher' if row['beta'] > 0 else 'lower'} with a higher"
    noted = f" ({row['note']})" if row["note"] else ""
    units = "settings" if row["units"] == "setting" else "seeds of one setting"
    return (
        f"Among {units} with the same accuracy on seen classes and as much data of the test "
        f"domain, {relation} {what} ({facts}){noted}."
    )


def replicates_sentence(plan: StudyPlan) -> str:
    """What the intervals cover and what they do not."""
    text = (
        "Intervals are over classes (jackknife), for these weights and these images; of a "
        "difference, each class is left out of both networks at once. They are not corrected for "
        "the number of comparisons. "
    )
    if plan.is_replicated:
        text += "Draws and seeds are counted one by one, and not merged. "
    if len(plan.seeds) == 1:
        return f"{text}One seed: how far another training would come out elsewhere is not known."
    return text.strip()


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
