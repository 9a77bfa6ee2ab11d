"""The schema of every configuration: dataclasses, each field followed by what it means."""

from gen.schema.datasets import (
    CaptionStyle,
    DatasetKind,
    FileConfig,
    HeldOutList,
    IconsConfig,
    ImportConfig,
)
from gen.schema.models import ModelConfig, ModelKind, TextConfig, VisionConfig, VisionKind
from gen.schema.studies import (
    BudgetConfig,
    BudgetRule,
    HeldOutConfig,
    ResourcesConfig,
    StudyConfig,
    VariantConfig,
)
from gen.schema.testing import (
    HEAD,
    AnalysisConfig,
    AnalysisKind,
    EvaluationConfig,
    PretrainedConfig,
    PromptSet,
    SiteLevel,
)
from gen.schema.training import (
    Compile,
    ImagePlace,
    Objective,
    Precision,
    Schedule,
    Sharding,
    StreamConfig,
    TrainingConfig,
)

__all__ = [
    "HEAD",
    "AnalysisConfig",
    "AnalysisKind",
    "BudgetConfig",
    "BudgetRule",
    "CaptionStyle",
    "Compile",
    "DatasetKind",
    "EvaluationConfig",
    "FileConfig",
    "HeldOutConfig",
    "HeldOutList",
    "IconsConfig",
    "ImagePlace",
    "ImportConfig",
    "ModelConfig",
    "ModelKind",
    "Objective",
    "Precision",
    "PretrainedConfig",
    "PromptSet",
    "ResourcesConfig",
    "Schedule",
    "Sharding",
    "SiteLevel",
    "StreamConfig",
    "StudyConfig",
    "TextConfig",
    "TrainingConfig",
    "VariantConfig",
    "VisionConfig",
    "VisionKind",
]
