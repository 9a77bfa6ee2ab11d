"""The logit lens at the last block of every kind of vision transformer is the model itself."""

from __future__ import annotations

import polars as pl
import pytest
import torch

from analysis.class_sets import class_sets
from analysis.lens import logit_lens, readout
from analysis.sites import list_sites, taps
from gen.config import load_config
from gen.models.classifier import build_classifier
from gen.models.clip import build_clip
from gen.models.clippo import build_clippo
from gen.models.trained import Learner
from gen.models.vocabulary import Vocabulary, full_vocabulary
from gen.schema import SiteLevel

TIMM_VIT = ["vision.timm_model=vit_tiny_patch16_224"]
NAMES = tuple(f"class {number}" for number in range(7))


def clip(name, overrides=()):
    vocabulary = Vocabulary(full_vocabulary().token_ids[:20], 5)
    return build_clip(load_config("models", name, overrides), vocabulary, 64, seed=0)


TOWERS = {
    "vit": lambda: clip("vit-tiny"),
    "timm": lambda: clip("resnet18-timm", TIMM_VIT),
    "clippo": lambda: build_clippo(load_config("models", "clippo-tiny"), 64, 0, bias=False),
}


@pytest.mark.parametrize("kind", TOWERS)
def test_the_last_block_is_read_as_the_model_reads_it(kind):
    model = TOWERS[kind]().eval()
    images = torch.randint(256, (24, 3, 64, 64), dtype=torch.uint8)
    last = [site for site in list_sites(model, SiteLevel.residual) if site.name != "embedding"][-1:]
    head, read = readout(model.visual), []
    with torch.inference_mode(), taps(last, lambda _, tokens: read.append(head(tokens))):
        embeddings = model.encode_image((images.float() / 255 - 0.5) / 0.5)
    assert torch.allclose(read[0], embeddings, atol=1e-5)
    samples = pl.DataFrame({"domain": ["real"] * 24, "class_id": [i % 7 for i in range(24)]})
    sets, texts = class_sets(NAMES, {}), torch.nn.functional.normalize(embeddings[:7]).numpy()
    table = logit_lens(
        Learner(model, None), images.split(10), samples, ["real"], sets, texts, torch.device("cpu")
    )
    own = table.filter(site="embedding")["value"].item()
    assert table.filter(site=last[0].name)["value"].item() == own > 1 / 7


def test_a_resnet_has_no_logit_lens():
    config = load_config("models", "classifier-rn-tiny")
    assert readout(build_classifier(config, 64, 5, 0).visual) is None
    assert readout(clip("resnet18-timm").visual) is None
