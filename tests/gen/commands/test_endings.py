"""How commands end that somebody interrupts."""

from __future__ import annotations

import os
import signal

import pytest

from gen import cli
from gen.commands import mixtures, runs, status, sweep
from splits.errors import TEMPORARY


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["status", "demo"], 0),
        (["split", "show", "demo"], 0),
        (["sweep", "demo", "--dry-run"], 0),
        (["sweep", "demo"], 141),
        (["run", "demo"], 141),
        (["split", "build", "demo"], 141),
    ],
)
def test_a_reader_that_has_gone_is_no_success_of_what_was_to_be_done(monkeypatch, words, code):
    def gone(_):
        raise BrokenPipeError

    for module, command in (
        (status, "show_status"),
        (sweep, "sweep_study"),
        (runs, "run_study"),
        (mixtures, "show_splits"),
        (mixtures, "build_splits"),
    ):
        monkeypatch.setattr(module, command, gone)
    monkeypatch.setattr(os, "dup2", lambda *_: None)  # else pytest would see nothing more
    assert cli.main(words) == code


def test_a_sweep_that_is_asked_to_end_before_its_runs_is_no_failure(monkeypatch):
    monkeypatch.setattr(sweep, "_check", lambda _: os.kill(os.getpid(), signal.SIGTERM))
    before = signal.signal(signal.SIGTERM, lambda *_: pytest.fail("nobody heeded it"))
    try:
        with pytest.raises(SystemExit) as caught:
            cli.main(["sweep", "demo"])
    finally:
        signal.signal(signal.SIGTERM, before)
    assert caught.value.code == TEMPORARY
