"""The schema of every configuration: dataclasses, each field followed by what it means."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from omegaconf import MISSING


class DatasetKind(Enum):
    """Where the images of a dataset come from."""

    icons = "icons"
    """rendered here"""
    folder = "folder"
    """a tree domain/class/image"""
    tsv = "tsv"
    """a table of image files and captions, without classes"""
    webdataset = "webdataset"
    """tar shards of images and captions, without classes"""


@dataclass
class IconsConfig:
    """An icons dataset: which classes and domains, how many images, how large."""

    kind: DatasetKind = DatasetKind.icons
    name: str = MISSING
    classes: int = MISSING
    """number of classes, drawn evenly over the super-categories; 0 means all"""
    domains: list[str] = MISSING
    drawings_per_family: int = 0
    """drawings of a class by one artist family, the first of its list; 0 means all"""
    natural: str = "real"
    """the domain that stands for ordinary photographs"""
    train: int = MISSING
    """images per (domain, class) cell in the training split"""
    test: int = MISSING
    """images per cell of the test split whose artist families training shows"""
    test_unseen_drawing: int = MISSING
    """images per cell by an artist family that training never shows, where a class has three"""
    pixels: int = MISSING
    """height and width of an image"""
    seed: int = 0


class CaptionStyle(Enum):
    """The sentence patterns of captions; gen/datasets/captions.yaml lists them."""

    short = "short"
    published = "published"
    """the six of Kempf et al. 2025"""


@dataclass
class FileConfig:
    """A file of a download: mirrors of one content, tried in their order."""

    name: str = MISSING
    """file name in the download's folder"""
    urls: list[str] = MISSING
    bytes: int = 0
    """size; 0 where nobody published it"""
    sha256: str = ""
    """hash; empty where nobody published it"""


@dataclass
class ImportConfig:
    """A dataset made of images that are there already: a tree, a table, or tar shards."""

    kind: DatasetKind = DatasetKind.folder
    name: str = MISSING
    pixels: int = MISSING
    """height and width at which a model sees an image: short side resized, centre cropped"""
    short_side: int = 0
    """pixels of the short side of a stored image; larger ones are made smaller; 0: as they are"""
    domains: list[str] = field(default_factory=list)
    """folders that are domains; empty means all of them (kind folder)"""
    without: list[str] = field(default_factory=list)
    """classes that are not imported (kind folder)"""
    natural: str = ""
    """the domain of photographs (kind folder)"""
    lists: str = ""
    """lists of the splits' images, below the root, with {domain} and {split}: lines `PATH LABEL`;
    empty means a draw of `test_share` (kind folder)"""
    test_share: float = 0.2
    """share of every cell's images that the test split gets, where no lists are given"""
    captions: CaptionStyle = CaptionStyle.published
    """patterns of the captions (kind folder)"""
    nouns: dict[str, list[str]] = field(default_factory=dict)
    """two words for the medium of each domain that gen/datasets/captions.yaml does not know"""
    super_categories: str = ""
    """CSV file (class_name,super_category) for stratified draws of held-out classes"""
    trim_order: list[str] = field(default_factory=list)
    """domains in the order in which mixtures are trimmed, those that are not imported left out;
    empty means largest first"""
    table: str = ""
    """path of the table below the root (kind tsv)"""
    path_column: str = "filepath"
    caption_column: str = "title"
    shards: str = "*.tar"
    """pattern of the shards' paths below the root (kind webdataset)"""
    max_rejected: int = 0
    """bad samples that an import may leave out; they are listed in rejected.parquet"""
    downloads: list[FileConfig] = field(default_factory=list)
    """files that `clipgen dataset download` fetches"""
    seed: int = 0


class ModelKind(Enum):
    """What is trained."""

    clip = "clip"
    """an image tower and a text tower (Radford et al. 2021)"""
    clippo = "clippo"
    """one tower for images and rendered captions (Tschannen et al. 2023)"""
    classifier = "classifier"
    """the image tower with a linear layer over the classes, trained on labels"""


class VisionKind(Enum):
    """Image towers."""

    resnet = "resnet"
    """open_clip's ModifiedResNet"""
    vit = "vit"
    """open_clip's VisionTransformer"""
    timm = "timm"
    """any image model of timm"""


@dataclass
class VisionConfig:
    """Image tower; of a CLIPPO the only one (kind vit)."""

    kind: VisionKind = MISSING
    layers: list[int] = field(default_factory=list)
    """blocks of each of the four stages (resnet), or the one depth (vit)"""
    width: int = 0
    """channels of the first stage (resnet) or of the tokens (vit)"""
    head_width: int = 64
    """channels of an attention head"""
    patch_size: int = 0
    """pixels per patch side (vit only)"""
    timm_model: str = ""
    """name of the model (timm only)"""


@dataclass
class TextConfig:
    """Text tower (open_clip's transformer); its context is as long as the longest caption."""

    layers: int = 0
    width: int = 0
    heads: int = 0


@dataclass
class ModelConfig:
    """A model to train."""

    kind: ModelKind = ModelKind.clip
    embed_dim: int = MISSING
    vision: VisionConfig = field(default_factory=VisionConfig)
    text: TextConfig = field(default_factory=TextConfig)
    """kind clip only"""
    font: str = "unifont"
    """of rendered captions: `unifont`, or the path of a .ttf, .otf or .hex file (clippo only)"""


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


@dataclass
class HeldOutConfig:
    """Classes removed from the test domain: a published list, a list, or stratified draws."""

    published: str = ""
    """name of a list in configs/held_out"""
    classes: list[str] = field(default_factory=list)
    count: int = 0
    """classes of a draw"""
    seed: int = 0
    """of the first draw; further ones take the seeds that follow"""
    draws: int = 1
    """number of draws"""


class BudgetRule(Enum):
    """How many samples a mixture holds, and which; docs/splits.md explains each."""

    published = "published"
    random = "random"
    balanced = "balanced"
    exposure_matched = "exposure_matched"
    fixed_total = "fixed_total"


@dataclass
class BudgetConfig:
    """How many samples a mixture holds, and which."""

    rule: BudgetRule = BudgetRule.random
    seed: int = 0
    """of the choice of samples within the cells (all rules but `published`)"""
    total: int = 0
    """samples of every mixture (rule fixed_total)"""
    top_up: bool = False
    """let a smaller mixture reach the budget by showing its samples several times"""


@dataclass
class VariantConfig:
    """A family of settings: those named in `of`, changed in every combination of the lists.

    An empty list leaves that part of the setting as it is.
    """

    of: list[str] = MISSING
    """settings to vary"""
    held_out: list[float] = field(default_factory=list)
    """shares of the held-out classes' samples in the test domain that are shown"""
    seen: list[float] = field(default_factory=list)
    """shares of the seen classes' samples in the test domain that are shown"""
    seen_classes: list[float] = field(default_factory=list)
    """shares of the seen classes that are shown in the test domain; smaller ones are nested"""
    domains: list[str] = field(default_factory=list)
    """the other domains that are shown, joined by +: [clipart, clipart+painting]"""
    diversity: list[int] = field(default_factory=list)
    """numbers of other domains that are shown: all subsets of that size, or `subsets` of them"""
    subsets: int = 0
    """how many subsets of each size to draw; 0 means all"""
    subset_seed: int = 0
    matrix: list[str] = field(default_factory=list)
    """CSV files (domain,class_name,exposure) that replace the exposure altogether"""
    budget: list[BudgetRule] = field(default_factory=list)
    top_up: list[bool] = field(default_factory=list)
    caption: list[str] = field(default_factory=list)


HEAD = "head"
"""stands for the prompt set of a classifier, which has none"""


class PromptSet(Enum):
    """The sentences from which a class's text embedding is made; docs/evaluation.md shows them."""

    domain_free = "domain_free"
    """every caption pattern with the generic nouns: no domain is named"""
    single = "single"
    """the first sentence of `domain_free`"""
    ensemble = "ensemble"
    """every caption pattern with the generic nouns and those of all domains"""
    domain = "domain"
    """every caption pattern with the nouns of the test image's domain"""
    openai = "openai"
    """the 80 templates of Radford et al. 2021; needs CLIP's whole vocabulary"""


@dataclass
class EvaluationConfig:
    """How every trained model of a study is tested."""

    prompts: list[PromptSet] = field(
        default_factory=lambda: [
            PromptSet.domain_free,
            PromptSet.single,
            PromptSet.ensemble,
            PromptSet.domain,
        ]
    )
    """the first one makes the study's headline scores, and those of milestones"""
    retrieval: bool = True
    """whether images find their captions, and captions their images"""
    probes: bool = False
    """whether linear probes are trained on the activations of every site"""
    probe_images: int = 40
    """training images of a (domain, class) cell that a probe sees, at most"""
    shots: list[int] = field(default_factory=lambda: [1, 2, 4, 8, 16])
    """images of a class in the few-shot curve"""
    probe_seeds: int = 3
    """draws of the few-shot curve's images"""


@dataclass
class PretrainedConfig:
    """A model of open_clip that is evaluated and analysed beside the trained ones."""

    model: str = MISSING
    """name of a model of open_clip, or `local-dir:FOLDER`"""
    weights: str = ""
    """open_clip's tag of the weights, which must be in the cache; none for a local folder"""


@dataclass
class ResourcesConfig:
    """What one run gets, here and on Slurm; no part of a run's identity."""

    gpus: int = 1
    """on each machine, where it has any; several share the run by torchrun"""
    cpus: int = 1
    """processors of a run without GPU, or of each of its GPUs; a slot of a sweep has as many"""
    nodes: int = 1
    """machines that share a run (Slurm only)"""
    memory_gb: int = 0
    """memory of a run on each machine (Slurm only); 0: what the partition gives"""
    minutes: int = 240
    """time limit (Slurm only); a run that reaches it is queued again, and goes on"""
    partition: str = ""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    parallel: int = 0
    """runs at a time (Slurm only); 0: as many as Slurm lets run"""
    signal_seconds: int = 90
    """time that a run has to write its state before the time limit (Slurm only)"""
    requeues: int = 100
    """how often a run that reached its time limit is queued again (Slurm only)"""
    setup: list[str] = field(default_factory=list)
    """shell lines before the run, such as `module load …` (Slurm only)"""


@dataclass
class StudyConfig:
    """A grid of runs: arms × test domains × settings × draws of held-out classes × seeds.

    An arm is one way to train: a model and a training configuration. Without `grid` and `include`
    there is one.
    """

    name: str = MISSING
    dataset: str = MISSING
    """name of a dataset that is built"""
    base: str = ""
    """name of an image-caption dataset of which every mixture holds all"""
    model: str = MISSING
    """name of a file in configs/models"""
    test_domains: list[str] = MISSING
    settings: list[str] = MISSING
    variants: dict[str, VariantConfig] = field(default_factory=dict)
    """further settings, made from the named ones"""
    held_out: HeldOutConfig = field(default_factory=HeldOutConfig)
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    allow_empty_cells: bool = False
    """go on where a setting shows a (domain, class) cell that has no sample"""
    caption: str = "caption"
    """caption column of the sample table: `caption`, or `caption_aligned` (never names a domain)"""
    seeds: list[int] = field(default_factory=lambda: [0])
    """seeds of training: initial weights, order and augmentation"""
    training: TrainingConfig = field(default_factory=TrainingConfig)
    grid: dict[str, list[Any]] = field(default_factory=dict)
    """values of `model` and of keys of `training` (`training.objective`): every combination is an
    arm"""
    exclude: list[dict[str, Any]] = field(default_factory=list)
    """runs of the grid that are left out: those that fit all keys of an entry (keys as in `grid`,
    and `setting`, `test_domain`, `draw`, `seed`; a list fits any of its values)"""
    include: list[dict[str, Any]] = field(default_factory=list)
    """runs that are added after `exclude`: an entry with keys as in `grid` adds to the one arm of
    these values (all others being the study's own), any other entry to every arm of the grid; keys
    as in `exclude` choose which runs, and may name seeds that are not among `seeds`"""
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    pretrained: dict[str, PretrainedConfig] = field(default_factory=dict)
    """models that are there already, by the name that the study gives them"""
    resources: ResourcesConfig = field(default_factory=ResourcesConfig)


@dataclass
class HeldOutList:
    """Held-out classes that somebody published."""

    name: str = MISSING
    source: str = MISSING
    """who published it, and where"""
    classes: list[str] = MISSING
