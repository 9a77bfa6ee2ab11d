"""The live line says what is known, once a line in a log, and ends where training ends."""

from __future__ import annotations

from gen import progress
from gen.training.live import LiveLine, describe

VALUES = {"samples_seen": 512, "loss": 2.34567, "loss_floor": 0.5, "logit_scale": 14.285}


def test_values_are_told_in_the_words_of_people():
    everything = VALUES | {"lr": 0.0005, "mfu": 0.314}
    assert describe(everything) == "loss 2.346 (floor 0.500), scale 14.3, rate 5.0e-04, MFU 31%"


def test_values_that_are_not_known_are_left_out():
    assert describe({"samples_seen": 512, "loss": 1.0}) == "loss 1.000"
    assert describe({"samples_seen": 512}) == ""


def test_a_log_gets_the_last_values_and_the_place_as_lines(capsys, monkeypatch):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LOG_LINES", 0.0)
    line = LiveLine(total=2048, done=256)
    line.show(VALUES)
    line.show(VALUES | {"samples_seen": 1024, "loss": 1.5})
    line.close()
    printed = capsys.readouterr().err
    assert "\r" not in printed
    first, *_, last = printed.splitlines()
    assert "12%" in first  # 256 of 2048 were done before
    assert "50%" in last
    assert "loss 1.500 (floor 0.500)" in last


def test_a_log_gets_few_lines_however_many_steps_are_shown(capsys):
    line = LiveLine(total=10_000, done=0)
    for samples in range(1000):
        line.show(VALUES | {"samples_seen": samples})
    line.close()
    printed = capsys.readouterr().err.splitlines()
    assert len(printed) <= 3
    assert "999/10.0k" in printed[-1]
