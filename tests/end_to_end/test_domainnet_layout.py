"""DomainNet's official layout, in small: import, base, the published grid, its mixtures, leaks."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image
from workplace import Workplace

from gen.cli import main
from gen.config import load_config
from gen.training.measured import Measured

DOMAINS = ("clipart", "infograph", "painting", "quickdraw", "real", "sketch")
HELD_OUT = load_config("held_out", "kempf2025").classes
CLASSES = sorted([*HELD_OUT, "cat", "dog", "The Eiffel Tower", "t-shirt", "zebra"], key=str.lower)
EMPTY = ("painting", "t-shirt")
SIZES = {
    "real": (9, 2),
    "quickdraw": (8, 2),
    "painting": (6, 2),
    "sketch": (5, 2),
    "infograph": (4, 2),
}
OTHERS = (3, 2)
SMALL = ["pixels=32", "short_side=0"]


def write_layout(root: Path) -> None:
    """Images and official lists: DOMAIN/CLASS/DOMAIN_LABEL_NUMBER.jpg, {domain}_{split}.txt."""
    rng = np.random.default_rng(0)
    for domain in DOMAINS:
        lists: dict[str, list[str]] = {"train": [], "test": []}
        for label, name in enumerate(CLASSES):
            number = 0
            for split, size in zip(lists, SIZES.get(domain, OTHERS), strict=True):
                if split == "train" and (domain, name) == EMPTY:
                    continue
                for _ in range(size + (label % 3 if split == "train" else 0)):
                    path = f"{domain}/{name.replace(' ', '_')}/{domain}_{label:03}_{number:06}.jpg"
                    number += 1
                    lists[split].append(f"{path} {label}\n")
                    (root / path).parent.mkdir(parents=True, exist_ok=True)
                    pixels = rng.integers(0, 256, size=(4, 4, 3), dtype=np.uint8)
                    Image.fromarray(pixels).resize((40, 36), Image.Resampling.NEAREST).save(
                        root / path
                    )
        for split, lines in lists.items():
            (root / f"{domain}_{split}.txt").write_text("".join(lines))


def write_base(root: Path) -> None:
    """A table of images and captions, as the published scripts make it of ImageNet-Captions."""
    rng = np.random.default_rng(1)
    root.mkdir()
    captions = ['"quoted at the start', "null", "a lion in the sun", "N/A", "some mountains; sea"]
    lines = ["filepath\ttitle\n"]
    for number, caption in enumerate(captions):
        pixels = rng.integers(0, 256, size=(4, 4, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((40, 40), Image.Resampling.NEAREST).save(
            root / f"{number}.jpg"
        )
        lines.append(f"{number}.jpg\t{caption}\n")
    table = load_config("datasets", "imagenet-captions").table
    (root / table).write_text("".join(lines), encoding="utf-8")


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """A workplace with a small DomainNet and a small base."""
    workplace = Workplace(tmp_path_factory.mktemp("domainnet"))
    write_layout(workplace.folder / "official")
    write_base(workplace.folder / "captions")
    for name, source in (("domainnet", "official"), ("imagenet-captions", "captions")):
        folders = [
            "--from",
            str(workplace.folder / source),
            "--data",
            str(workplace.folder / "data"),
        ]
        assert main(["dataset", "import", name, *folders, "--workers", "1", *SMALL]) == 0
    return workplace


def manifest(workplace: Workplace, name: str) -> dict:
    path = workplace.folder / "runs" / "domainnet" / "mixtures" / name / "manifest.json"
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_lists_decide_splits_and_order(imported: Workplace) -> None:
    samples = pl.read_parquet(imported.folder / "data" / "domainnet" / "samples.parquet")
    for domain in DOMAINS:
        for split in ("train", "test"):
            text = (imported.folder / "official" / f"{domain}_{split}.txt").read_text()
            rows = samples.filter(domain=domain, split=split).sort("position")
            assert rows["id"].to_list() == [line.rsplit(" ", 1)[0] for line in text.splitlines()]
    assert samples["class_name"].n_unique() == len(CLASSES)
    assert set(HELD_OUT) < set(samples["class_name"])


def test_the_dry_run_lists_the_78_published_runs_with_counts_and_hashes(
    imported: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = Measured(100.0, 10**6, "measured on no step")
    monkeypatch.setattr("gen.training.measured.measure_here", lambda *_, **__: steps)
    listed = imported.clipgen("sweep", "domainnet", "--dry-run")
    rows = re.findall(r"^new +([\d,]+)  ([0-9a-f]{12})  .+ (\S+)$", listed, re.MULTILINE)
    assert len(rows) == 78
    assert len({name for _, _, name in rows}) == 78
    assert "78 runs of 26 different mixtures" in listed
    assert "every mixture holds 5 samples of imagenet-captions besides" in listed
    sizes = {name: int(count) for count, _, name in rows}
    natural = [size for name, size in sizes.items() if name.startswith("natural_only")]
    assert natural == [sum(9 + label % 3 for label in range(len(CLASSES)))] * 3
    sketch = {size for name, size in sizes.items() if "-sketch-" in name}
    assert len(sketch) == 1  # sizes match within a test domain
    assert not (imported.folder / "runs").exists()


def test_building_the_grid_writes_mixtures_that_say_what_they_hold(imported: Workplace) -> None:
    imported.clipgen("split", "build", "domainnet")
    content = manifest(imported, "cg_high_diversity.sketch")
    assert content["base"]["name"] == "imagenet-captions"
    assert content["held_out"] == sorted(HELD_OUT)
    assert sum(map(sum, content["realised"])) == content["size"]
    order = "real, quickdraw, painting, sketch, infograph, clipart"
    assert any(note.endswith(order) for note in content["notes"])
    painting = content["realised"][DOMAINS.index("painting")]
    assert painting[content["classes"].index("t-shirt")] == 0


def test_an_empty_cell_is_an_error_unless_it_is_allowed(imported: Workplace) -> None:
    message = imported.clipgen("sweep", "domainnet", "--dry-run", "allow_empty_cells=false", code=2)
    assert "cell (`painting`, `t-shirt`) is asked for but has no training sample" in message
    assert "allow_empty_cells=true" in message


def test_the_audit_finds_held_out_classes_in_the_captions_of_the_base(imported: Workplace) -> None:
    report = imported.clipgen("split", "audit", "domainnet")
    assert "caption_leak" in report
    findings = pl.read_csv(imported.folder / "runs" / "domainnet" / "audit" / "findings.csv")
    leaks = findings.filter(check="caption_leak")
    assert leaks["count"].sum() == 2  # the lion and the mountains
    assert findings.filter(severity="error").is_empty()


@pytest.mark.slow
def test_a_study_with_a_base_goes_the_whole_way(
    imported: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(imported.folder)
    arguments = [
        "domainnet",
        *("name=small", "model=rn-tiny", "seeds=[0]", "test_domains=[sketch]"),
        *("settings=[natural_only,cg_low_diversity]", "training.batch_size=32"),
        *("training.samples_seen=320", "training.checkpoint_every=320", "training.log_every=5"),
        "training.milestones=2",
    ]
    for command in (["split", "build"], ["run"], ["report"]):
        assert main([*command, *arguments]) == 0
    page = (imported.folder / "runs" / "small" / "report" / "report.md").read_text()
    assert "unseen drawing" not in page.lower()
    scores = pl.read_parquet(
        next((imported.folder / "runs" / "small").glob("cg_low*/evaluation.parquet"))
    )
    assert scores.filter(classes="held_out", domain="sketch")["n_classes"].unique().to_list() == [
        15
    ]
