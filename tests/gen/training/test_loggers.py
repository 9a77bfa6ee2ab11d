"""Every logger gets every value once, also when training goes on after an interruption."""

from __future__ import annotations

import sys

import pytest

from gen.training.loggers import JsonLines, open_loggers
from gen.training.metrics_log import NAME, read_metrics
from splits.errors import UserError

OWN = """
class Good:
    def __init__(self, folder): self.folder, self.calls = folder, []
    def log(self, step, values): self.calls.append((step, values))
    def artifact(self, path): self.calls.append(path)
    def close(self): self.calls.append("closed")
class Lacking:
    def log(self, step, values): ...
    def close(self): ...
def function(folder): ...
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module of somebody's own loggers, `own_loggers`."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "own_loggers.py").write_text(OWN)
    (tmp_path / "modules" / "own_broken.py").write_text("import not_installed_anywhere")
    monkeypatch.syspath_prepend(tmp_path / "modules")
    yield
    sys.modules.pop("own_loggers", None)


def test_a_line_is_in_the_file_as_soon_as_it_is_logged(tmp_path):
    (logger,) = open_loggers([], tmp_path, 0)
    logger.log(5, {"loss": 0.5})
    assert (tmp_path / NAME).read_text() == '{"step": 5, "loss": 0.5}\n'
    logger.close()


def test_lines_of_steps_that_come_again_are_dropped(tmp_path):
    first = JsonLines(tmp_path, 0)
    for step in (5, 10, 15):
        first.log(step, {"loss": 1.0})
    first.close()
    second = JsonLines(tmp_path, 10)
    second.log(15, {"loss": 2.0})
    second.close()
    assert [(row["step"], row["loss"]) for row in read_metrics(tmp_path)] == [
        (5, 1.0),
        (10, 1.0),
        (15, 2.0),
    ]


def test_tensorboard_reads_back_every_step_once_after_a_resume(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for start, loss in ((0, 1.0), (10, 2.0), (10, 3.0)):
        loggers = open_loggers(["tensorboard"], tmp_path, start)
        for step in range(start + 5, start + 16, 5):
            for logger in loggers:
                logger.log(step, {"loss": loss, "lr": 0.5})
        loggers[1].artifact(tmp_path / "checkpoints" / "final.safetensors")
        for logger in loggers:
            logger.close()
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert sorted(events.Tags()["scalars"]) == ["loss", "lr"]
    found = [(event.step, event.value) for event in events.Scalars("loss")]
    assert found == [(5, 1.0), (10, 1.0), (15, 3.0), (20, 3.0), (25, 3.0)]
    (text,) = events.Tensors("artifact/text_summary")[-1].tensor_proto.string_val
    assert text == b"checkpoints/final.safetensors"


def test_without_tensorboard_the_error_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match=r'pip install "clipgen\[track\]"'):
        open_loggers(["tensorboard"], tmp_path, 0)


@pytest.mark.usefixtures("own")
def test_ones_own_class_is_made_with_the_folder_and_gets_everything(tmp_path):
    loggers = open_loggers(["own_loggers:Good"], tmp_path, 0)
    assert loggers[1].folder == tmp_path
    loggers[1].log(1, {"loss": 2.0})
    loggers[1].artifact(tmp_path / "weights")
    loggers[1].close()
    assert loggers[1].calls == [(1, {"loss": 2.0}), tmp_path / "weights", "closed"]
    loggers[0].close()


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("wandb", "logger `wandb` is unknown"),
        (":Good", "logger `:Good` is unknown"),
        ("own_logers:Good", "cannot be imported: No module named 'own_logers'"),
        ("own_broken:Good", "cannot be imported: No module named 'not_installed_anywhere'"),
        ("own_loggers:Bad", "cannot be imported: module 'own_loggers' has no attribute 'Bad'"),
        ("own_loggers:Lacking", "logger `own_loggers:Lacking` has no method `artifact`"),
        ("own_loggers:function", "logger `own_loggers:function` has no method `log`"),
    ],
)
def test_a_logger_that_cannot_be_used_is_an_error_that_says_why(tmp_path, name, message):
    with pytest.raises(UserError) as caught:
        open_loggers([name], tmp_path, 0)
    assert message in str(caught.value)
    assert "training.loggers" in str(caught.value)
