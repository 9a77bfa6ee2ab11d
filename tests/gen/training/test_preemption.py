"""SIGTERM is noted, not died of, where training waits for it, and nowhere else."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress

import pytest

from gen.training.preemption import (
    Preempted,
    TerminationWatch,
    ending_at_sigterm,
    watching_sigterm,
)
from splits.errors import TEMPORARY, UserError


@pytest.fixture
def received():
    """The signals that reach the handler that was there before."""
    signals = []
    before = signal.signal(signal.SIGTERM, lambda number, _: signals.append(number))
    yield signals
    signal.signal(signal.SIGTERM, before)


def test_a_termination_is_noted_and_reaches_nobody_else(received):
    with suppress(Preempted), watching_sigterm() as watch:
        assert not watch.requested
        os.kill(os.getpid(), signal.SIGTERM)
        assert watch.requested
        raise Preempted(64)
    assert received == []


@pytest.mark.parametrize("error", [KeyError, None])
def test_a_termination_that_nobody_heeded_comes_again(received, error):
    with suppress(KeyError), watching_sigterm():
        os.kill(os.getpid(), signal.SIGTERM)
        assert received == []
        if error:
            raise error
    assert received == [signal.SIGTERM]


def test_a_training_that_breaks_when_it_is_asked_to_end_ends_the_process():
    def train():
        with watching_sigterm():
            os.kill(os.getpid(), signal.SIGTERM)
            raise UserError("the loss is no number")

    with pytest.raises(SystemExit) as caught, ending_at_sigterm():
        train()
    assert caught.value.code == TEMPORARY


def test_afterwards_the_handler_of_before_is_back_whatever_happened(received):
    with pytest.raises(KeyError), watching_sigterm() as watch:
        raise KeyError
    os.kill(os.getpid(), signal.SIGTERM)
    assert received == [signal.SIGTERM]
    assert not watch.requested


def test_two_watches_know_nothing_of_each_other(received):
    with watching_sigterm() as first:
        os.kill(os.getpid(), signal.SIGTERM)
    with watching_sigterm() as second:
        assert first.requested
        assert not second.requested


def test_in_another_thread_the_watch_is_inert(received):
    found = []

    def work():
        with watching_sigterm() as watch:
            found.append((watch.requested, signal.getsignal(signal.SIGTERM)))

    handler = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [(False, handler)]


def test_a_preempted_run_says_how_far_it_came():
    assert Preempted(6400).samples_seen == 6400
    assert "6400 samples" in str(Preempted(6400))


def test_outside_of_a_training_a_termination_ends_the_process_by_its_finally_clauses(received):
    given_back = []

    def work():
        with suppress(Preempted), watching_sigterm():
            os.kill(os.getpid(), signal.SIGTERM)
            raise Preempted(64)
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            given_back.append("the lock")

    with pytest.raises(SystemExit) as caught, ending_at_sigterm():
        work()
    assert caught.value.code == TEMPORARY
    assert given_back == ["the lock"]
    os.kill(os.getpid(), signal.SIGTERM)
    assert received == [signal.SIGTERM]


def test_processes_tell_each_other_in_time_however_the_pace_changes():
    watch, told = TerminationWatch(), []
    for step in range(1, 60):
        if watch.is_telling_due(step, every=7 + step % 5):  # rarely a divisor of the step
            told.append(step)
    gaps = [after - before for before, after in zip([0, *told], told, strict=False)]
    assert len(told) >= 5
    assert max(gaps) <= 11
