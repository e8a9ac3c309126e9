"""A training that is cut off goes on to the same bits: dropout, batch normalization, three
optimizers, in one process and in processes that are killed."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from engine.errors import BadQuery
from engine.learning.train import CHECKPOINT
from tests.support.cut import PLACES, STEPS, Cut, held, same, trained


def equal(one: Path, other: Path) -> bool:
    """Weights, buffers, optimizers, averages and the state of the objective."""
    return same(held(one), held(other))


def test_a_run_that_broke_off_at_five_places_is_resumed_to_the_bit(tmp_path):
    whole = trained(tmp_path / "whole")
    for place in PLACES:
        with pytest.raises(Cut):
            trained(tmp_path / "cut", place)
        torch.rand(3)  # others draw from torch's generator in between
    resumed = trained(tmp_path / "cut")
    assert held(tmp_path / "cut")["done"] == STEPS and len(held(tmp_path / "cut")["average"]) > 20
    assert equal(tmp_path / "whole", tmp_path / "cut")
    assert same(dict(whole.state_dict()), dict(resumed.state_dict()))


@pytest.mark.slow
def test_a_run_that_was_killed_at_five_places_is_resumed_to_the_bit(tmp_path):
    """In the middle of writing a checkpoint, too; other processes take it up."""
    whole, cut = str(tmp_path / "whole"), str(tmp_path / "cut")
    for words in (("kill", whole, cut), ("run", cut)):
        command = [sys.executable, "-m", "tests.support.cut", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=110)
        assert done.returncode == 0, done.stderr
    assert held(tmp_path / "cut")["done"] == STEPS
    assert equal(tmp_path / "whole", tmp_path / "cut")


def test_another_state_would_be_seen(tmp_path):
    """The comparison sees one number of the state that a checkpoint holds."""
    trained(tmp_path / "whole")
    with pytest.raises(Cut):
        trained(tmp_path / "cut", ("moved", 6))
    saved = torch.load(tmp_path / "cut" / CHECKPOINT, weights_only=True)
    saved["basin"]["state"][0][0, 0] += 1e-3
    torch.save(saved, tmp_path / "cut" / CHECKPOINT)
    trained(tmp_path / "cut")
    assert not equal(tmp_path / "whole", tmp_path / "cut")


def test_half_a_checkpoint_is_never_read(tmp_path):
    with pytest.raises(Cut):
        trained(tmp_path, ("half written", 16))
    assert held(tmp_path)["done"] == 12  # the one before
    raw = (tmp_path / CHECKPOINT).read_bytes()
    (tmp_path / CHECKPOINT).write_bytes(raw[: len(raw) // 2])
    with pytest.raises(BadQuery, match="is broken"):
        trained(tmp_path)
