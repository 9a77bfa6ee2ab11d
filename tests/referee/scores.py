"""The same scores twice: by CLIP_benchmark from an export, and from a run's predictions."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import polars as pl
from sklearn.metrics import recall_score

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv-referee" / "bin" / "python"
LAUNCH = Path(__file__).with_name("launch.py")
METRICS = ("acc1", "acc5", "mean_per_class_recall")


def their_scores(export: Path, output: Path) -> dict[str, dict[str, float]]:
    """By test set the scores that CLIP_benchmark gives the exported model."""
    marker = json.loads((export / "export.json").read_text())
    sets = output / "sets.txt"
    output.mkdir(parents=True, exist_ok=True)
    sets.write_text("".join(f"wds/{name}\n" for name in marker["sets"]))
    model = str(export / "model")
    named = {"clip": ["--model", f"local-dir:{model}"], "clippo": ["--model", model]}[
        marker["kind"]
    ]
    kind = "open_clip" if marker["kind"] == "clip" else "clippo"
    command = [
        *(PYTHON, LAUNCH, "eval", "--no_amp", "--num_workers", "0", "--batch_size", "500"),
        *("--model_type", kind, *named, "--pretrained", "none", "--dataset", sets),
        *("--dataset_root", export / "sets" / "{dataset}"),
        *("--task", "zeroshot_classification", "--output", output / "{dataset}.json"),
    ]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    found = {}
    for name in marker["sets"]:
        metrics = json.loads((output / f"{name}.json").read_text())["metrics"]
        found[name] = {metric: metrics[metric] for metric in METRICS}
    return found


def our_scores(run: Path, export: Path) -> dict[str, dict[str, float]]:
    """By test set the scores of a run's final weights with the headline prompts."""
    marker = json.loads((export / "export.json").read_text())
    table = pl.read_parquet(run / "predictions.parquet").filter(
        pl.col("final"), prompts=marker["prompts"], checkpoint=marker["checkpoint"]
    )
    found = {}
    for name in marker["sets"]:
        samples = pl.read_csv(export / "sets" / name / "test" / "samples.csv")
        rows = samples.join(table, on="id", validate="1:1", maintain_order="left")
        assert rows.height == samples.height, f"{name}: predictions are missing"
        found[name] = _scores(rows)
    return found


def _scores(rows: pl.DataFrame) -> dict[str, float]:
    labels, top5 = rows["label"].to_numpy(), np.stack(rows["top5"].to_list())
    return {
        "acc1": float((top5[:, 0] == labels).mean()),
        "acc5": float((top5 == labels[:, None]).any(axis=1).mean()),
        "mean_per_class_recall": float(
            recall_score(labels, top5[:, 0], labels=np.unique(labels), average="macro")
        ),
    }
