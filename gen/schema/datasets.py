"""The schema of configs/datasets and configs/held_out: data that are rendered or imported."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from omegaconf import MISSING


class DatasetKind(Enum):
    """Where the images of a dataset come from."""

    icons = "icons"
    """rendered here: one object an image"""
    scenes = "scenes"
    """rendered here: several objects an image, each a combination of concepts"""
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


@dataclass
class ScenesConfig:
    """Scenes of icons: which concepts combine into objects, which objects training shows."""

    kind: DatasetKind = DatasetKind.scenes
    name: str = MISSING
    classes: Any = MISSING
    """classes of icons: a list of names, or how many (drawn evenly over the super-categories)"""
    colours: Any = 0
    """a list of names of gen/scenes/palette.py, or how many (its first); 0: colour is no concept"""
    domains: list[str] = field(default_factory=list)
    """domains of icons, one for every object; empty: the domain is no concept. A domain decides
    its own colours, so that a scene has colours or domains"""
    sizes: list[str] = field(default_factory=list)
    """of small, medium, large; empty: size is no concept"""
    drawings: int = 0
    """drawings of a class, of the first artist families; 0: one of every family"""
    train: list[int] = MISSING
    """training scenes of 1, 2, … objects"""
    test: list[int] = MISSING
    """test scenes of 1, 2, … objects, of train objects and as many of unseen ones; from two
    objects on as many of both, set aside"""
    coverage: float = MISSING
    """share of the objects that training scenes may show"""
    coverage_seed: int = 0
    """of the draw of these objects"""
    swap_share: float = 0.0
    """share of the training scenes of two objects that come with their swap, also in training"""
    object_pixels: int = MISSING
    """side of the square that a large object gets"""
    overlap: bool = False
    """whether objects may hide up to half of each other's square"""
    pixels: int = MISSING
    """height and width of an image"""
    seed: int = 0
    """of scenes, positions, poses and styles"""


class CaptionStyle(Enum):
    """The sentence patterns of captions; gen/datasets/captions.yaml lists them."""

    short = "short"
    published = "published"
    """the six of Kempf et al. 2025"""
    bare = "bare"
    """the class alone, as scenes' captions say an object"""


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


@dataclass
class HeldOutList:
    """Held-out classes that somebody published."""

    name: str = MISSING
    source: str = MISSING
    """who published it, and where"""
    classes: list[str] = MISSING
