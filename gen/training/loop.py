"""Train one model on one mixture: resumable at any step, the same weights every time.

Order and augmentation are pure functions of (seed, epoch, sample); a state holds weights, optimizer
and samples seen. Killed at any moment and started again, training ends with the same bits (on the
same machine, with as many processes and threads). Several processes share every batch, and learn
what one would.
"""

from __future__ import annotations

import warnings
from contextlib import closing

from gen.runs import FINAL_WEIGHTS
from gen.training.checkpoint import (
    load_state,
    milestone_path,
    milestone_samples,
    milestones,
    save_state,
    save_weights,
)
from gen.training.distributed import any_rank
from gen.training.failures import check_weights
from gen.training.journal import Journal
from gen.training.preemption import Preempted, TerminationWatch, watching_sigterm
from gen.training.schedule import checkpoint_interval, total_samples, total_steps
from gen.training.step import Training, take_step
from splits.errors import UserError


def train(training: Training) -> None:
    """Go on from the newest state to the end; writes `checkpoints/` and `metrics.jsonl`.

    Raises:
        Preempted: the process was asked to end (SIGTERM); a state, or the end, is written.
        UserError: loss or weights are no numbers, or the states are another run's.
    """
    config, feed = training.config, training.feed
    seen = load_state(training.checkpoints, training.identity, training.towers, training.optimizer)
    first, last = seen // config.batch_size, total_steps(config)
    _tell_missed_milestones(training, seen)
    training.towers.train()
    journal = Journal(feed, training.folder, first, training.utilisation)
    with closing(journal), watching_sigterm() as watch, closing(feed.batches(first)) as batches:
        for done, batch in enumerate(batches, start=first + 1):
            journal.add(take_step(training, done - 1, batch))
            if done == first + 1:
                _check_gradients(training)
            if done % config.log_every == 0 or done == last:
                journal.line(done, batch, training.logit_scale)
            if done < last:
                _keep(training, done, journal, watch)
        _check(training, last, journal)
        save_weights(
            training.checkpoints / FINAL_WEIGHTS, training.towers, write=feed.ranks.is_first
        )
        if any_rank(watch.requested):
            raise Preempted(total_samples(config))


def _keep(training: Training, done: int, journal: Journal, watch: TerminationWatch) -> None:
    """Write what is due after `done` steps; stop where somebody asked for it."""
    config, ranks = training.config, training.feed.ranks
    batch, seen = config.batch_size, done * config.batch_size
    if seen in milestone_samples(total_samples(config), batch, config.milestones):
        _check(training, done, journal)
        path = milestone_path(training.checkpoints, seen)
        save_weights(path, training.towers, write=ranks.is_first)
        journal.artifact(path)
    # several processes must agree, which takes time: not at every step of a fast training
    is_due = watch.is_telling_due(done, journal.steps_between_asking)
    asked = is_due and any_rank(watch.requested)
    interval = checkpoint_interval(config)
    if asked or seen // interval > (seen - batch) // interval:
        _check(training, done, journal)
        state = (training.checkpoints, seen, training.identity)
        save_state(*state, training.towers, training.optimizer, write=ranks.is_first)
    if asked:
        raise Preempted(seen)


def _check(training: Training, done: int, journal: Journal) -> None:
    """Nothing is written of a training whose loss or weights are no numbers."""
    journal.check()
    feed = training.feed
    check_weights(
        training.towers,
        done - 1,
        batch_size=feed.config.batch_size,
        batch_ids=feed.ids,
        folder=training.folder,
    )


def _check_gradients(training: Training) -> None:
    """A parameter that training never moves has no state to go on from, and is no one's wish."""
    idle = [name for name, value in training.towers.named_parameters() if value.grad is None]
    if idle:
        raise UserError(
            f"{len(idle)} parameters get no gradient, `{idle[0]}` the first",
            expected="a model all of whose parameters take part",
            where=training.folder.name,
            fix="take another image tower (key `vision.timm_model`)",
        )


def _tell_missed_milestones(training: Training, seen: int) -> None:
    """Warn of milestones that were asked for when training was past them."""
    config = training.config
    due = milestone_samples(total_samples(config), config.batch_size, config.milestones)
    kept = {samples for samples, _ in milestones(training.checkpoints)}
    missed = [samples for samples in due if samples <= seen and samples not in kept]
    if missed and training.feed.ranks.is_first:
        warnings.warn(
            f"{len(missed)} milestones lie before the state of {seen} samples from which "
            f"{training.folder.name} goes on, and are not kept; delete {training.checkpoints} to "
            "begin anew",
            stacklevel=2,
        )
