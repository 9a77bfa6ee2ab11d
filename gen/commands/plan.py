"""What `sweep --dry-run` tells: every run, and what all of them cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gen.commands.status import share

if TYPE_CHECKING:
    from gen.sweep.study import Study


def print_plan(study: Study) -> None:
    """Every run with the samples and the hash of its mixture, and what they sum to."""
    from gen.sweep.status import status_table

    table = status_table(study)
    width = max(map(len, table["run"]))
    base = max(table["base_samples"].drop_nulls())
    print(f"{'state':<8} {'share':>5}  {'samples':>9}  {'mixture':<12}  run")
    for row in table.iter_rows(named=True):
        samples = "" if row["samples"] is None else f"{row['samples']:,}"
        line = f"{row['state']:<8} {share(row['progress']):>5}  {samples:>9}"
        mixture = (row["mixture_sha256"] or "pretrained")[:12]
        print(f"{line}  {mixture:<12}  {row['run']:<{width}}".rstrip())
    for line in _coinciding(study):
        print(line)
    mixtures = table["mixture_sha256"].drop_nulls()
    pretrained = len(table) - len(mixtures)
    print(
        f"{len(mixtures)} runs of {mixtures.n_unique()} different mixtures, "
        f"{study.config.training.samples_seen:,} samples seen by each"
        + (f"; every mixture holds {base:,} samples of {study.config.base} besides" if base else "")
        + (f"; {pretrained} pretrained models" if pretrained else "")
    )


def _coinciding(study: Study) -> list[str]:
    """Settings whose mixtures are the same for a test domain and draw: trained more than once."""
    alike: dict[tuple[str, int, str], list[str]] = {}
    for mixture in study.mixtures.values():
        key = (mixture.test_domain, mixture.draw, mixture.sha256)
        alike.setdefault(key, []).append(mixture.setting.name)
    found = {tuple(names) for names in alike.values() if len(names) > 1}
    return [f"the same mixture by several names: {', '.join(names)}" for names in sorted(found)]
