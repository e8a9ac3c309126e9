"""A training of three networks that can be cut off at a place: dropout, batch normalization, three
optimizers. `python -m tests.support.cut kill WHOLE CUT` kills it by SIGKILL at every place, and
`python -m tests.support.cut run FOLDER` takes it up again."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import nn

from engine.domain import Real, Variable
from engine.energy import Term
from engine.learning.examples import Stored
from engine.learning.objective import Nets, Objective, Update
from engine.learning.optimizers import Adam, AdamW
from engine.learning.recipe import Recipe
from engine.learning.train import CHECKPOINT, pl, train

Place = tuple[str, int]
PLACES: tuple[Place, ...] = (
    ("drawn", 2),  # before there is a checkpoint
    ("moved", 6),  # one network has taken its step, the others not
    ("looked at", 12),  # beside held-out data, with averaged weights in the networks
    ("half written", 16),
    ("not renamed", 20),
)
STEPS, EVERY = 24, 4


class Cut(Exception):
    """Ends a training from within."""


def layers(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(before, 8), nn.BatchNorm1d(8), nn.SiLU(), nn.Dropout(0.3), nn.Linear(8, after)
    )


class Bent(Term):
    """E = net(x)."""

    def __init__(self):
        super().__init__(Variable("x", Real((2,))))
        self.net = layers(2, 1)
        self.register_buffer("mask", torch.tensor([0.0, -torch.inf]))

    def energy(self, x):  # (B, 2) -> (B,)
        return self.net(x.float())[:, 0]


@dataclass(frozen=True)
class Turns(Objective[tuple[torch.Tensor, int]]):
    """Energy, generator with encoder, generator again; the state holds what was made last."""

    clip: float = 1.0
    seen: Callable[[str, int], None] = field(default=lambda *_: None, compare=False)

    def start(self, nets: Nets, rng):
        return torch.rand(16, 2), 0  # by torch's own generator

    def updates(self, nets: Nets, batch, s, rng):
        energy, generator, encoder = (nets[name] for name in ("energy", "generator", "encoder"))
        self.seen("drawn", rng.step)
        z = torch.randn(16, 2)
        made = generator(z)
        yield Update("energy", energy(batch).mean() - energy({"x": s[0]}).mean(), self.clip)
        self.seen("moved", rng.step)
        loss = (encoder(made) - z).square().mean()
        yield Update(("generator", "encoder"), loss, self.clip)
        yield Update("generator", energy({"x": generator(z)}).mean())
        return made.detach(), s[1] + 1


@contextmanager
def writing(seen: Callable[[str, int], None]) -> Iterator[None]:
    """Tells how far a checkpoint is written."""
    save = pl.Trainer.save_checkpoint

    def saved(trainer: pl.Trainer, path: Path, *more: Any) -> None:
        save(trainer, path, *more)
        raw, step = path.read_bytes(), trainer.lightning_module.done
        path.write_bytes(raw[: len(raw) // 2])
        seen("half written", step)
        path.write_bytes(raw)
        seen("not renamed", step)

    with patch.object(pl.Trainer, "save_checkpoint", saved):
        yield


def cut() -> None:
    raise Cut


def trained(work: Path, place: Place | None = None, stop: Callable[[], None] = cut) -> nn.Module:
    """The networks at the end, unless the training is cut off at a place."""
    step = 0

    def seen(name: str, at: int) -> None:
        nonlocal step
        step = at
        if (name, at) == place:
            stop()

    def figure(nets: Nets) -> float:
        seen("looked at", step + 1)
        return float(nets["energy"]({"x": torch.rand(8, 2)}).square().mean().detach())

    torch.manual_seed(0)
    nets = {"energy": Bent(), "generator": layers(2, 2), "encoder": layers(2, 2)}
    x = torch.randn(40, 2, generator=torch.Generator().manual_seed(1))
    recipe = Recipe(
        STEPS, 16, 0.01, every=EVERY, average=0.9,
        optimizers={"generator": Adam(2e-3, (0.0, 0.9), 1e-3, fall=0.9), "encoder": AdamW(3e-3)},
    )  # fmt: skip
    with writing(seen):
        train(Turns(seen=seen), nets, Stored({"x": x}), recipe, work=work, held_out=figure)
    return nn.ModuleDict(nets)


def held(work: Path) -> dict[str, Any]:
    """What the last checkpoint holds of a run, but for times and the counters of Lightning."""
    saved = torch.load(work / CHECKPOINT, weights_only=True)
    ours = {name: value for name, value in saved["basin"].items() if name != "seconds"}
    return {name: saved[name] for name in ("state_dict", "optimizer_states")} | ours


def same(one: Any, other: Any) -> bool:
    """Whether two such things are equal to the bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other) and one.dtype == other.dtype
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def killed(work: Path, place: Place | None) -> int:
    """How a process of its own ended: minus the signal, or its exit code."""
    if not (child := os.fork()):
        trained(work, place, lambda: os.kill(os.getpid(), signal.SIGKILL))
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1] == "run":
        trained(Path(sys.argv[2]))
    else:
        assert killed(Path(sys.argv[2]), None) == 0
        ends = [killed(Path(sys.argv[3]), place) for place in PLACES]
        assert ends == [-signal.SIGKILL] * len(PLACES), ends
