"""Models that are there already: opened by open_clip, never fetched.

What such a model was trained on is unknown here: nothing may say that it never saw a domain.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from gen.runs import (
    Run,
    describe_run,
    file_sha256,
    sha256_of,
)
from gen.schema import PretrainedConfig
from splits.errors import UserError, unknown

if TYPE_CHECKING:
    import torch

    from gen.models.trained import Learner

LOCAL, HUB = "local-dir:", "hf-hub:"
CONFIG = "open_clip_config.json"
WEIGHTS = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
)
"""files of a local folder among which open_clip, too, takes the first that is there"""

UNREADABLE = (SafetensorError, UnpicklingError, EOFError)
"""what damaged weights raise"""
UNFIT = (TypeError, KeyError, IndexError, AttributeError, ArithmeticError)
"""what a configuration that lacks a key, or has one of no meaning, raises"""


@dataclass(frozen=True)
class Tokens:
    """A tokenizer of open_clip; a text that it would cut is refused."""

    tokenizer: Any

    def encode(self, texts: Sequence[str]) -> torch.Tensor:
        """Token ids, int64 of shape [N, L], L being the model's context length.

        Raises:
            UserError: a text has more tokens than that.
        """
        most = self.tokenizer.context_length
        for text in texts:
            if (length := self._length(text)) > most:
                raise UserError(
                    f"the text {text!r} has {length} tokens, and the model reads {most}",
                    expected="shorter texts, or another model",
                )
        return self.tokenizer(list(texts))

    def _length(self, text: str) -> int:
        """Tokens of a text, start and end included."""
        inner = getattr(self.tokenizer, "tokenizer", None)
        if inner is not None:  # of Hugging Face
            return len(inner(text, truncation=False)["input_ids"])
        return len(self.tokenizer.encode(text)) + 2


def source_sha256(source: PretrainedConfig, where: str) -> str:
    """Hash of a model's name and tag, or of what a local folder holds.

    Args:
        source: the model.
        where: its place in the configuration, for errors.

    Raises:
        UserError: the configuration names no model, or there is no such folder.
    """
    has_schema = source.model.startswith((LOCAL, HUB))
    if has_schema == bool(source.weights):
        raise UserError(
            f"`{source.model}` stands with weights {source.weights!r}",
            expected="a model's name and the tag of its weights, or local-dir:FOLDER without",
            where=where,
            fix="python -c 'import open_clip; print(open_clip.list_pretrained())' lists them",
        )
    if not source.model.startswith(LOCAL):
        return sha256_of([_name(source), source.weights])
    folder = _folder(source)
    for path in (folder / CONFIG, _local_weights(folder)):
        if not path.is_file():
            raise UserError(
                f"there is no file {path}",
                expected=f"{CONFIG} and {WEIGHTS[0]}, as `clipgen export` writes them",
                where=where,
            )
    return sha256_of([file_sha256(folder / CONFIG), file_sha256(_local_weights(folder))])


def load_pretrained(source: PretrainedConfig) -> Learner:
    """The model with its own tokenizer, image size, mean and standard deviation.

    Raises:
        UserError: open_clip does not know it or cannot open it, its weights are not in the cache,
            they want another activation function, or the configuration makes no model.
    """
    import open_clip  # takes seconds to import: only where it is needed

    from gen.models.trained import Learner

    with _offline():
        path = _weights_path(source)
        try:
            model = open_clip.create_model(
                _name(source), source.weights or None, require_pretrained=True
            )
            tokenizer = open_clip.get_tokenizer(_name(source))
        except (*UNREADABLE, ImportError, OSError, RuntimeError, ValueError) as error:
            raise UserError(
                f"open_clip cannot open the model `{source.model}`: {_first_line(error)}",
                where=str(path),
            ) from None
        except UNFIT as error:
            raise UserError(
                f"the configuration of `{source.model}` makes no model: "
                f"{type(error).__name__}: {_first_line(error)}",
                expected="a configuration of open_clip, as `clipgen export` writes it",
                where=str(path.with_name(CONFIG)),
            ) from None
    seen: dict[str, Any] = model.visual.preprocess_cfg
    return Learner(
        model.eval(),
        Tokens(tokenizer),
        mean=_three(seen["mean"], source),
        std=_three(seen["std"], source),
        pixels=_side(seen["size"], source),
        checkpoint=file_sha256(path),
    )


def check_there(source: PretrainedConfig) -> None:
    """Look for a model's weights, without opening them.

    Raises:
        UserError: open_clip does not know it, or its weights are not in the cache.
    """
    with _offline():
        _weights_path(source)


def describe_pretrained(source: PretrainedConfig) -> dict[str, Any]:
    """What was opened, for a run's run.json: source, weights, and how images enter.

    Raises:
        UserError: as `load_pretrained`.
    """
    import open_clip

    learner = load_pretrained(source)
    with _offline():
        config = open_clip.get_model_config(_name(source)) or {}
    return {
        "model": source.model,
        "weights": source.weights,
        "checkpoint": learner.checkpoint,
        "quick_gelu": bool(config.get("quick_gelu", False)),
        "mean": list(learner.mean),
        "std": list(learner.std),
        "pixels": learner.pixels,
    }


def record_pretrained(run: Run) -> None:
    """Write what a run's model is (config.yaml) and where it comes from (run.json).

    Raises:
        UserError: as `load_pretrained`.
        ValueError: the run is none of a pretrained model.
    """
    if run.pretrained is None:
        raise ValueError(f"{run.name} is trained here")
    facts = describe_pretrained(run.pretrained)
    checkpoint = facts.pop("checkpoint")
    describe_run(run, samples_seen=None, checkpoint=checkpoint, pretrained=facts)


def _weights_path(source: PretrainedConfig) -> Path:
    """The file of the weights: of the folder, or in the cache."""
    import open_clip
    from open_clip.pretrained import download_pretrained, download_pretrained_from_hf

    if source.model.startswith(LOCAL):
        return _local_weights(_folder(source))
    try:
        if source.model.startswith(HUB):
            return Path(download_pretrained_from_hf(source.model.removeprefix(HUB)))
        name = _name(source)
        if name not in open_clip.list_models():
            raise unknown("model of open_clip", name, open_clip.list_models())
        wanted = open_clip.get_pretrained_cfg(name, source.weights)
        if not wanted:
            tags = open_clip.list_pretrained_tags_by_model(name)
            raise unknown("tag of weights", source.weights, tags, where=f"model {name}")
        _check_activation(source, wanted)
        if not wanted.get("hf_hub"):  # open_clip would fetch it from elsewhere without asking
            _check_cached(wanted["url"])
        return Path(download_pretrained(wanted))
    except OSError:  # offline, and not in the cache
        raise _not_cached(source) from None


def _check_cached(url: str) -> None:
    if not (Path("~/.cache/clip").expanduser() / url.rsplit("/", 1)[-1]).is_file():
        raise FileNotFoundError(url)


def _not_cached(source: PretrainedConfig) -> UserError:
    tag = f", {source.weights!r}" if source.weights else ""
    code = f"import open_clip; open_clip.create_model({_name(source)!r}{tag})"
    return UserError(
        f"the weights of `{source.model}` are not in open_clip's cache"
        + (f" ({source.weights})" if source.weights else ""),
        expected="weights that were fetched before: no run fetches anything",
        fix=f'where there is a network: python -c "{code}" (HF_HOME names the cache\'s folder)',
    )


def _check_activation(source: PretrainedConfig, wanted: dict[str, Any]) -> None:
    """open_clip only warns, and the model's numbers would be wrong."""
    import open_clip

    has = bool((open_clip.get_model_config(_name(source)) or {}).get("quick_gelu", False))
    if has != bool(wanted.get("quick_gelu", False)):
        name = _name(source)
        other = name.removesuffix("-quickgelu") if has else f"{name}-quickgelu"
        raise UserError(
            f"the weights {source.weights} were trained {'without' if has else 'with'} QuickGELU, "
            f"and the model `{name}` is {'with' if has else 'without'} it",
            fix=f"model: {other}",
        )


@contextmanager
def _offline() -> Iterator[None]:
    """While active, the hub's client answers from its cache alone."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE  # read once, when it was imported
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _side(size: int | Sequence[int], source: PretrainedConfig) -> int:
    sides = {size} if isinstance(size, int) else set(size)
    if len(sides) != 1:
        raise UserError(
            f"`{source.model}` sees images of {' × '.join(map(str, sorted(sides)))} pixels",
            expected="a model of square images",
        )
    return sides.pop()


def _three(values: Sequence[float], source: PretrainedConfig) -> tuple[float, float, float]:
    try:
        red, green, blue = map(float, values)
    except (TypeError, ValueError):
        raise UserError(
            f"`{source.model}` has the mean or deviation {values!r}",
            expected="three numbers: of red, green and blue",
            where="its `preprocess_cfg`",
        ) from None
    return red, green, blue


def _name(source: PretrainedConfig) -> str:
    """As open_clip knows it."""
    return source.model if ":" in source.model else source.model.replace("/", "-")


def _folder(source: PretrainedConfig) -> Path:
    return Path(source.model.removeprefix(LOCAL))


def _local_weights(folder: Path) -> Path:
    found = (folder / name for name in WEIGHTS if (folder / name).is_file())
    return next(found, folder / WEIGHTS[0])


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
