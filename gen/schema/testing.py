"""The schema of what is asked of trained models: evaluation and analyses."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from omegaconf import MISSING

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
    text_robustness: bool = False
    """whether final weights are tested with prompts that are misspelt or drawn in other fonts"""
    text_probes: bool = False
    """whether linear probes read class, super-category and domain off sentences, at every site"""


@dataclass
class PretrainedConfig:
    """A model of open_clip that is evaluated and analysed beside the trained ones."""

    model: str = MISSING
    """name of a model of open_clip, or `local-dir:FOLDER`"""
    weights: str = ""
    """open_clip's tag of the weights, which must be in the cache; none for a local folder"""


class SiteLevel(Enum):
    """Which places of an image tower are compared; docs/sites.md lists them."""

    residual = "residual"
    """what stages and blocks hand on, and the embedding"""
    head = "head"
    """outputs of a ViT's attention heads"""
    neuron = "neuron"
    """hidden units of a ViT's MLPs"""
    channel = "channel"
    """a ResNet's feature maps after every activation function"""


class AnalysisKind(Enum):
    """A family of analyses; each writes tables of its own into a run's folder."""

    similarity = "similarity"
    """how alike domains are at every site"""
    factorization = "factorization"
    """whether embeddings are class plus domain"""
    transfer = "transfer"
    """whether a classifier of one domain works in another"""
    decodability = "decodability"
    """whether the domain can be read off, and from the subspace of classes"""
    lens = "lens"
    """what the text tower could read off every site"""
    sae = "sae"
    """features of sparse autoencoders, shared or private"""
    maps = "maps"
    """PCA and t-SNE of every site, distances of domains"""
    modalities = "modalities"
    """how alike images and sentences are at every site, and how far apart"""
    binding = "binding"
    """whether models know which concept goes with which object; of datasets of scenes only"""
    published = "published"
    """the measures of Kempf et al. 2025 as they were published, beside ours"""
    circuits = "circuits"
    """which parts carry a class in every domain, whether domains share them, and how faithful they
    are"""
    causes = "causes"
    """what becomes of answers when activations are exchanged, steered, erased or ablated"""
    published_circuits = "published_circuits"
    """the nodes and edges of Kempf et al. 2025 as they were published, beside ours; ResNets of
    open_clip only. Slow: ten passes of a cell's images for every channel that is kept"""


class SharingMeasure(Enum):
    """Similarity of two domains' class means; docs/similarity.md has the equations."""

    cka = "cka"
    """unbiased linear CKA"""
    cka_rbf = "cka_rbf"
    """the same with a Gaussian kernel"""
    cka_nc = "cka_nc"
    """linear CKA, corrected for noise by halves of the images"""
    s_id = "s_id"
    """alignment in the layer's own directions"""
    s_id_nc = "s_id_nc"
    """the same, corrected for noise"""
    s_rot = "s_rot"
    """alignment after the best rotation"""
    rot_minus_id = "rot_minus_id"
    """what only a rotation shows"""
    knn = "knn"
    """nearest neighbours in common"""
    cka_minus_pcs = "cka_minus_pcs"
    """linear CKA without the largest directions"""


@dataclass
class AnalysisConfig:
    """What is looked for inside of every model of a study."""

    kinds: list[AnalysisKind] = field(
        default_factory=lambda: [AnalysisKind.similarity, AnalysisKind.factorization]
    )
    levels: list[SiteLevel] = field(default_factory=lambda: [SiteLevel.residual])
    """of the sites that similarity compares"""
    milestones: bool = True
    """whether similarity is followed over training"""
    images: int = 20
    """of a (domain, class) cell, at most: what classifiers, lenses, autoencoders and maps see"""
    primary_site: str = ""
    """the site at which sharing is held against generalization; empty: the last before the
    embedding. Set it before looking: all other sites are exploratory"""
    primary_measure: SharingMeasure = SharingMeasure.s_id_nc
    """the measure of sharing there; all others are exploratory"""
