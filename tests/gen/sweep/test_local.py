"""A sweep on this machine: what its parent does while the runs go on."""

from __future__ import annotations

from types import SimpleNamespace

from gen.schema import TrainingConfig
from gen.sweep import local


class Run:
    """A run that counts how often it is asked whether it is done."""

    pretrained = None

    def __init__(self, done_from):
        self.done_from, self.asked = done_from, 0

    @property
    def done(self):
        self.asked += 1
        return self.asked >= self.done_from


def test_a_run_that_was_seen_done_is_not_asked_again(monkeypatch):
    runs = [Run(done_from=1), Run(done_from=3)]
    config = SimpleNamespace(training=TrainingConfig(samples_seen=100))
    polls = iter([None] * 5 + [0])
    monkeypatch.setattr(local, "POLL_SECONDS", 0)
    monkeypatch.setattr(local, "samples_done", lambda run: 100)
    study = SimpleNamespace(runs=runs, config=config)
    local._watch(study, [SimpleNamespace(poll=lambda: next(polls))])
    assert [run.asked for run in runs] == [1, 3]
