"""Image files of one colour, and a model that embeds colours."""

from __future__ import annotations

import torch
from PIL import Image
from torch import nn

from gen.models.trained import Learner
from gen.use.models import UsedModel

CPU = torch.device("cpu")
PIXELS = 8
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
SCALE = 10.0


class Colours(nn.Module):
    """The embedding of an image is its mean colour, from -1 to 1; counts the images it saw."""

    def __init__(self):
        super().__init__()
        self.logit_scale = nn.Parameter(torch.tensor(SCALE).log())
        self.seen = 0

    def encode_image(self, images):
        self.seen += len(images)
        return images.mean(dim=(2, 3))


def colour_model(weights="first"):
    learner = Learner(Colours(), None, pixels=PIXELS, checkpoint=weights)
    return UsedModel("colours", learner, {"planted": True})


def photo(path, colour=RED, size=(12, 9), **options):
    """Write an image of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path, **options)
    return path
