"""The schema of training: how a model learns from a mixture."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from omegaconf import MISSING


class Precision(Enum):
    """Arithmetic of the towers; `auto` takes bf16 where the processor is fast at it."""

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"


class Objective(Enum):
    """What training minimises; docs/training.md has the formulas."""

    infonce = "infonce"
    """symmetric softmax over the batch (CLIP)"""
    sigmoid = "sigmoid"
    """every pair for itself (SigLIP)"""
    multi_positive = "multi_positive"
    """softmax in which all pairs of one caption count as matches"""


class Schedule(Enum):
    """What the learning rate does after its warm-up."""

    cosine = "cosine"
    """falls to 0"""
    constant = "constant"


class Compile(Enum):
    """Whether `torch.compile` makes the towers' kernels; `auto`: in long runs on CUDA devices."""

    auto = "auto"
    always = "always"
    never = "never"


class Sharding(Enum):
    """What every process of a distributed run holds."""

    ddp = "ddp"
    """the whole model"""
    fsdp = "fsdp"
    """a share of weights, gradients and optimizer state (FSDP2)"""


class ImagePlace(Enum):
    """Where training images wait; `auto`: the first of these that has room."""

    auto = "auto"
    device = "device"
    """decoded, on the device"""
    memory = "memory"
    """decoded, in the machine's memory"""
    disk = "disk"
    """encoded, in the shards"""


@dataclass
class StreamConfig:
    """Image–caption pairs that are streamed beside the mixture, from shards that fit no disk."""

    shards: list[str] = field(default_factory=list)
    """paths or addresses of webdataset tars (`pipe:` too); empty: nothing is streamed"""
    share: float = 0.5
    """share of every batch that comes from the stream"""
    buffer: int = 1000
    """samples among which the next one is drawn"""
    max_rejected: int = 0
    """bad samples and shards that may be left out; the run's rejected.json lists them"""


@dataclass
class TextPairsConfig:
    """Pairs of related texts, both drawn, beside those of images and captions (kind clippo)."""

    source: str = ""
    """`captions`: two wordings of one cell; `super_categories`: a class and its super-category; or
    the path of a .tsv file, two texts a line; empty: no pairs of texts"""
    share: float = 0.25
    """share of every batch that is pairs of texts; 0: none"""


@dataclass
class TrainingConfig:
    """How every model of a study is trained: the same number of samples seen for all."""

    samples_seen: int = MISSING
    batch_size: int = 256
    """pairs of one optimizer step, over all processes"""
    objective: Objective = Objective.infonce
    """of the kinds clip and clippo; a classifier has cross-entropy"""
    learning_rate: float = 1e-3
    warmup: float = 0.05
    """share of the samples seen over which the learning rate rises"""
    schedule: Schedule = Schedule.cosine
    weight_decay: float = 0.2
    beta1: float = 0.9
    beta2: float = 0.98
    epsilon: float = 1e-6
    clip_norm: float = 0.0
    """largest norm of the gradient; longer ones are scaled down to it; 0: any"""
    accumulate: int = 1
    """parts in which a batch goes through the towers, for want of memory"""
    crop_area: float = 0.9
    """smallest share of the image's area that a random resized crop keeps"""
    flip: bool = True
    """mirror half of the images"""
    stream: StreamConfig = field(default_factory=StreamConfig)
    text_pairs: TextPairsConfig = field(default_factory=TextPairsConfig)
    precision: Precision = Precision.auto
    # What follows decides where, how fast and with which traces a run is trained. None of it is
    # part of a run's identity.
    deterministic: bool = True
    """only kernels that give the same bits every time"""
    compile: Compile = Compile.auto
    sharding: Sharding = Sharding.ddp
    images: ImagePlace = ImagePlace.auto
    readers: int = 0
    """threads that decode images which wait on disk; 0: one per core"""
    log_every: int = 20
    """steps between lines of metrics.jsonl"""
    checkpoint_every: int = 0
    """samples seen between two states from which training can go on; 0: a fiftieth of the run"""
    milestones: int = 0
    """named weights kept on the way, log-spaced in samples seen"""
    loggers: list[str] = field(default_factory=list)
    """further logs: `tensorboard`, or `MODULE:CLASS` of a `gen.training.loggers.Logger`"""
