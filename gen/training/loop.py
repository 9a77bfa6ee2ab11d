"""Train one model on one mixture: resumable at any step, the same weights every time.

Order and augmentation are pure functions of (seed, epoch, sample); a state holds weights, optimizer
and samples seen. Killed at any moment and started again, training ends with the same bits (on the
same machine, with as many processes and threads). Several processes share every batch, and learn
what one would.
"""

from __future__ import annotations

from contextlib import closing

from gen.training.checkpoint import (
    load_state,
    milestone_path,
    milestone_samples,
    save_state,
    save_weights,
)
from gen.training.distributed import any_rank
from gen.training.journal import Journal
from gen.training.preemption import Preempted, TerminationWatch, watching_sigterm
from gen.training.schedule import total_samples, total_steps
from gen.training.step import Training, take_step

FINAL = "final.safetensors"
STEPS_BETWEEN_ASKING = 10
"""steps after which several processes agree on whether one of them was asked to end"""


def train(training: Training) -> None:
    """Go on from the newest state to the end; writes `checkpoints/` and `metrics.jsonl`.

    Raises:
        Preempted: the process was asked to end (SIGTERM); a state is written.
        UserError: the loss is not a number, or the states are another run's.
    """
    config, feed = training.config, training.feed
    seen = load_state(training.checkpoints, training.identity, training.towers, training.optimizer)
    first, last = seen // config.batch_size, total_steps(config)
    training.towers.train()
    journal = Journal(feed, training.folder, first, training.utilisation)
    with closing(journal), watching_sigterm() as watch, closing(feed.batches(first)) as batches:
        for done, batch in enumerate(batches, start=first + 1):
            journal.add(take_step(training, done - 1, batch))
            if done % config.log_every == 0 or done == last:
                journal.line(done, batch, training.logit_scale)
            if done < last:
                _keep(training, done, journal, watch)
    save_weights(training.checkpoints / FINAL, training.towers, write=feed.ranks.is_first)


def _keep(training: Training, done: int, journal: Journal, watch: TerminationWatch) -> None:
    """Write what is due after `done` steps; stop where somebody asked for it."""
    config, ranks = training.config, training.feed.ranks
    batch, seen = config.batch_size, done * config.batch_size
    if seen in milestone_samples(total_samples(config), batch, config.milestones):
        journal.check()
        path = milestone_path(training.checkpoints, seen)
        save_weights(path, training.towers, write=ranks.is_first)
        journal.artifact(path)
    asked = watch.requested
    if ranks.size > 1:
        asked = done % STEPS_BETWEEN_ASKING == 0 and any_rank(asked)
    if asked or seen // config.checkpoint_every > (seen - batch) // config.checkpoint_every:
        journal.check()  # no state with weights that are no numbers
        state = (training.checkpoints, seen, training.identity)
        save_state(*state, training.towers, training.optimizer, write=ranks.is_first)
    if asked:
        raise Preempted(seen)
