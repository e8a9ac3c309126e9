"""The training loop, on Lightning: one loop over the updates of an objective, resumable to the bit.

    trained = train(PseudoLikelihood(), {"energy": term}, Stored({"x": x}), Recipe(steps=2000))

All randomness is counter-based: step t draws from the stream of step t, so that a checkpoint needs
only the seed, the count, the weights, the optimizers, the averages and the objective's state. A
run that was killed goes on from its last checkpoint to the same weights, bit for bit, as a run
that was not. This is the only file that knows Lightning (extra `train`).
"""

import contextlib
import hashlib
import logging
import math
import os
import sys
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from engine.domain import State
from engine.errors import BadQuery, Mistake
from engine.objective import Nets, Objective, Update, pack, unpack
from engine.random import Stream

try:
    import pytorch_lightning as pl
    from pytorch_lightning.callbacks import Callback, RichProgressBar
    from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger
except ImportError as error:  # the one optional import of the engine
    raise ImportError("training needs the extra `train`: pip install 'basin[train]'") from error

DATA, OBJECTIVE, FIRST = 501, 502, 503  # lanes of the stream
CHECKPOINT = "training.ckpt"


class Examples(ABC):
    """What is learned from: batches of states, drawn as a function of the step alone."""

    @abstractmethod
    def batch(self, size: int, step: int, rng: Stream) -> State:
        """The examples of one step. -> {variable: (size, *event)}"""

    @abstractmethod
    def mark(self) -> str:
        """Tells these examples from others, so that a run is never resumed on other data."""


@dataclass(frozen=True, eq=False)
class Stored(Examples):
    """A finite set: every pass takes each example once, in a new order."""

    x: State  # {variable: (N, *event)}

    def __post_init__(self):
        sizes = {name: len(t) for name, t in self.x.items()}
        if not sizes or min(sizes.values()) != max(sizes.values()) or not self.count:
            raise BadQuery(Mistake("examples", f"{sizes} examples", "give as many of each, not 0"))
        for name, t in self.x.items():
            if not t.isfinite().all():
                raise BadQuery(Mistake(f"examples.{name}", "has nan or inf", "leave these out"))

    @property
    def count(self) -> int:
        """N, the number of examples."""
        return len(next(iter(self.x.values())))

    def batch(self, size: int, step: int, rng: Stream) -> State:
        place = step * size + torch.arange(size)
        epoch, within = place // self.count, place % self.count
        index = torch.empty(size, dtype=torch.long)
        for e in epoch.unique().tolist():
            order = self._order(e, rng)
            index[epoch == e] = order[within[epoch == e]]
        return {name: t[index] for name, t in self.x.items()}

    def mark(self) -> str:
        digest = hashlib.blake2b(digest_size=16)
        for name, t in sorted(self.x.items()):
            digest.update(f"{name} {tuple(t.shape)} {t.dtype}".encode())
            digest.update(t.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    @cached_property
    def _orders(self) -> dict[tuple[int, int], Tensor]:
        return {}

    def _order(self, epoch: int, rng: Stream) -> Tensor:
        """A random order of the examples, remembered for the last two passes."""
        key = (rng.seed, epoch)
        if key not in self._orders:
            while len(self._orders) > 1:
                self._orders.pop(next(iter(self._orders)))
            draw = rng.at(epoch).uniform(1, self.count, dtype=torch.float64)
            self._orders[key] = draw[0].argsort()
        return self._orders[key]


@dataclass(frozen=True, eq=False)
class Drawn(Examples):
    """An endless supply: `draw(size, rng)` makes fresh examples; `name` tells it from others."""

    draw: Callable[[int, Stream], State]
    name: str

    def batch(self, size: int, step: int, rng: Stream) -> State:
        return self.draw(size, rng.at(step))

    def mark(self) -> str:
        return self.name


@dataclass(frozen=True)
class Recipe:
    """How long and how fast to train.

    rate: step of AdamW; rates: of single networks, by name. warm: first steps over which the rate
    rises; decay: whether it then falls to 0 along a cosine. average: memory of the running mean of
    the weights, None: none. every: steps between checkpoints, log lines and looks at held-out data.
    patience: looks without a better one after which training stops; the networks then end with the
    averaged weights of the best look, the one before the first step among them. seconds: limit on
    wall time, checkpoints included, over all resumptions.
    """

    steps: int
    batch: int = 128
    rate: float = 1e-3
    rates: Mapping[str, float] = field(default_factory=dict)
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    warm: int = 0
    decay: bool = True
    average: float | None = 0.999
    every: int = 500
    patience: int | None = None
    seconds: float | None = None
    seed: int = 0

    def __post_init__(self):
        for name in ("steps", "batch", "every"):
            if getattr(self, name) < 1:
                raise BadQuery(Mistake(name, f"{getattr(self, name)!r}", "give at least 1"))
        for name, rate in {"rate": self.rate, **self.rates}.items():
            if not 0 < rate < math.inf:
                raise BadQuery(Mistake(name, f"{rate!r}", "give a number above 0"))
        if self.average is not None and not 0 < self.average < 1:
            raise BadQuery(Mistake("average", f"{self.average!r}", "give 0 < average < 1"))

    def share(self, step: int) -> float:
        """The rate of a step as a share of `rate`."""
        rise = min(1.0, (step + 1) / self.warm) if self.warm else 1.0
        fall = 0.5 * (1 + math.cos(math.pi * step / self.steps)) if self.decay else 1.0
        return rise * fall


@dataclass(frozen=True, eq=False)
class Trained:
    """What a run ended with; the networks themselves now hold the averaged weights.

    kept: the step that these weights are of.
    """

    nets: Nets
    steps: int
    seconds: float
    stopped: str  # "steps", "seconds" or "patience"
    state: Any  # of the objective
    history: tuple[Mapping[str, float], ...]  # one record every `every` steps, of this start
    kept: int


def train(
    objective: Objective,
    nets: Nets,
    examples: Examples,
    recipe: Recipe,
    *,
    work: Path | None = None,
    held_out: Callable[[Nets], float] | None = None,
    progress: bool | None = None,
) -> Trained:
    """Trains the networks in place; they end with their averaged weights.

    work: a folder for checkpoints and logs (CSV and TensorBoard); the same folder again goes on
    where it stood, or raises BadQuery where it holds another run. held_out: a figure of the
    averaged networks that should fall, such as an energy on held-out data. progress: a bar on
    stderr; None: where that is a terminal.
    """
    run = _Run(objective, nets, examples, recipe, held_out)
    saved = None
    if work is not None:
        _make(work)
        saved = _checkpoint(work, run)
    done = 0 if saved is None else int(saved["done"])
    shows = sys.stderr.isatty() if progress is None else progress
    callbacks: list[Callback] = [] if work is None else [_Checkpoints(work / CHECKPOINT)]
    if shows:
        callbacks.append(RichProgressBar(console_kwargs={"stderr": True}))
    with _quiet():
        trainer = pl.Trainer(
            max_epochs=-1,
            accelerator="cpu" if run.home.type == "cpu" else "gpu",
            devices=1,
            logger=_loggers(work, done) if work is not None else False,
            callbacks=callbacks,
            enable_checkpointing=False,
            enable_progress_bar=shows,
            enable_model_summary=False,
            log_every_n_steps=1,
        )
        path = None if saved is None or work is None else str(work / CHECKPOINT)
        trainer.fit(run, range(recipe.steps), ckpt_path=path, weights_only=True)
        if work is not None and run.done > done:
            _save(trainer, work / CHECKPOINT)
    kept = run.finish()
    return Trained(nets, run.done, run.seconds, run.stopped, run.state, tuple(run.history), kept)


class _Run(pl.LightningModule):
    """The moving parts of one training: counts, averages, the objective's state."""

    def __init__(self, objective, nets, examples, recipe, held_out):
        super().__init__()
        self.automatic_optimization = False
        self.nets = dict(nets)
        self.trained = nn.ModuleDict(self.nets)  # registers them with Lightning
        self.objective, self.examples, self.recipe = objective, examples, recipe
        self.held_out = held_out
        self.rng = Stream(recipe.seed, torch.zeros(1, dtype=torch.int64))
        self.done, self.seconds, self.stopped = 0, 0.0, "steps"
        self.best, self.waited = math.inf, 0
        self.kept, self.kept_step = dict[str, Tensor](), 0  # averaged weights of the best look
        self.history: list[dict[str, float]] = []
        self.state = objective.start(self.nets, self.rng.fork(FIRST))
        self.average = (
            {n: p.detach().clone() for n, p in self.trained.named_parameters()}
            if recipe.average is not None
            else {}
        )
        self._began = time.perf_counter()

    @property
    def home(self) -> torch.device:
        """Where the networks lie."""
        return next(self.trained.parameters()).device

    def key(self) -> dict[str, str]:
        """What must be the same for a run to be resumed."""
        free = {"seconds", "every", "patience"} | (set() if self.recipe.decay else {"steps"})
        recipe = {f.name: getattr(self.recipe, f.name) for f in fields(Recipe)}
        return {
            "objective": repr(self.objective),
            "recipe": repr({n: v for n, v in recipe.items() if n not in free}),
            "weights": repr({n: tuple(p.shape) for n, p in self.trained.named_parameters()}),
            "examples": self.examples.mark(),
        }

    def configure_optimizers(self):
        r = self.recipe
        return [
            torch.optim.AdamW(
                net.parameters(),
                lr=r.rates.get(name, r.rate),
                betas=r.betas,
                weight_decay=r.weight_decay,
            )
            for name, net in self.nets.items()
        ]

    def on_train_start(self):
        optimizers = self.optimizers(use_pl_optimizer=False)
        every = optimizers if isinstance(optimizers, list) else [optimizers]
        self._optimizers = dict(zip(self.nets, every, strict=True))
        self._began = time.perf_counter() - self.seconds
        if self.done >= self.recipe.steps:
            self._stop("steps")
        elif self.recipe.patience is not None and self.waited >= self.recipe.patience:
            self._stop("patience")
        elif self.recipe.patience is not None and self.done == 0:
            self._judged()

    def training_step(self, *_):
        step, rng = self.done, self.rng.at(self.done)
        x = self.examples.batch(self.recipe.batch, step, self.rng.fork(DATA))
        x = {name: t.to(self.home) for name, t in x.items()}
        updates = self.objective.updates(self.nets, x, self.state, rng.fork(OBJECTIVE))
        shown: dict[str, float] = {}
        while True:
            try:
                update = next(updates)
            except StopIteration as end:
                self.state = end.value
                break
            self._take(update, step)
            if (step + 1) % self.recipe.every == 0:
                shown[f"{update.trains}.loss"] = float(update.loss.detach())
                shown.update(update.shown)
        self._averaged(step)
        self.done = step + 1
        self.seconds = time.perf_counter() - self._began
        if self.done % self.recipe.every == 0 or self.done == self.recipe.steps:
            self._look(shown)
        if self.done >= self.recipe.steps:
            self._stop("steps")
        elif self.recipe.seconds is not None and self.seconds >= self.recipe.seconds:
            self._stop("seconds")

    def _take(self, update: Update, step: int) -> None:
        """One step of one network."""
        if update.trains not in self._optimizers:
            raise BadQuery(Mistake("update.trains", f"{update.trains!r} is no network"))
        if not bool(update.loss.isfinite()):
            raise FloatingPointError(
                f"the loss of {update.trains} is {float(update.loss):g} at step {step}; "
                "lower `rate`, or give `clip`"
            )
        optimizer, net = self._optimizers[update.trains], self.nets[update.trains]
        for group in optimizer.param_groups:
            whole = self.recipe.rates.get(update.trains, self.recipe.rate)
            group["lr"] = whole * self.recipe.share(step)
        optimizer.zero_grad(set_to_none=True)
        self.manual_backward(update.loss)
        if update.clip is not None:
            torch.nn.utils.clip_grad_norm_(net.parameters(), update.clip)
        optimizer.step()

    @torch.no_grad()
    def _averaged(self, step: int) -> None:
        """The running mean of the weights; its memory grows from short to `average`."""
        if self.recipe.average is None:
            return
        memory = min(self.recipe.average, (1 + step) / (10 + step))
        for name, p in self.trained.named_parameters():
            self.average[name].lerp_(p, 1 - memory)

    def _look(self, shown: dict[str, float]) -> None:
        """A log line, and whether held-out data say that it is enough."""
        if self.held_out is not None:
            shown["held_out"] = self._judged()
            if self.recipe.patience is not None and self.waited >= self.recipe.patience:
                self._stop("patience")
        record = {"step": float(self.done), "seconds": self.seconds, **shown}
        self.history.append(record)
        for logger in self.trainer.loggers:
            logger.log_metrics({n: v for n, v in record.items() if n != "step"}, self.done)

    def _judged(self) -> float:
        """The figure on held-out data; the weights of the best one are kept."""
        if self.held_out is None:
            return math.nan
        with self._as_averaged():
            figure = float(self.held_out(self.nets))
            if figure < self.best:
                self.best, self.waited, self.kept_step = figure, 0, self.done
                named = self.trained.named_parameters()
                self.kept = {name: p.detach().clone() for name, p in named}
            else:
                self.waited += 1
        return figure

    @torch.no_grad()
    def finish(self) -> int:
        """Puts the weights to end with into the networks: of the best look where training waits
        for one, else the averaged ones. -> their step"""
        if self.recipe.patience is None or not self.kept:
            self.take_average()
            return self.done
        for name, p in self.trained.named_parameters():
            p.copy_(self.kept[name])
        return self.kept_step

    def _stop(self, why: str) -> None:
        self.stopped = why
        self.trainer.should_stop = True

    @torch.no_grad()
    def take_average(self) -> None:
        """Puts the averaged weights into the networks."""
        for name, p in self.trained.named_parameters():
            if name in self.average:
                p.copy_(self.average[name])

    @contextlib.contextmanager
    def _as_averaged(self) -> Iterator[None]:
        raw = {n: p.detach().clone() for n, p in self.trained.named_parameters()}
        self.take_average()
        try:
            yield
        finally:
            with torch.no_grad():
                for name, p in self.trained.named_parameters():
                    p.copy_(raw[name])

    def on_save_checkpoint(self, checkpoint):
        checkpoint["basin"] = {
            "key": self.key(),
            "done": self.done,
            "seconds": self.seconds,
            "best": self.best,
            "waited": self.waited,
            "average": self.average,
            "kept": self.kept,
            "kept_step": self.kept_step,
            "state": pack(self.state),
        }

    def on_load_checkpoint(self, checkpoint):
        saved = checkpoint["basin"]
        self.done, self.seconds = saved["done"], saved["seconds"]
        self.best, self.waited = saved["best"], saved["waited"]
        self.average = saved["average"]
        self.kept, self.kept_step = saved["kept"], saved["kept_step"]
        self.state = unpack(self.state, saved["state"])


class _Checkpoints(Callback):
    """Writes the checkpoint every `recipe.every` steps."""

    def __init__(self, path: Path):
        self.path = path

    def on_train_batch_end(self, trainer, pl_module, *_):
        if pl_module.done % pl_module.recipe.every == 0:
            _save(trainer, self.path)


def _save(trainer: pl.Trainer, path: Path) -> None:
    """The file is whole or it is the one before: written beside, then renamed."""
    beside = path.with_suffix(".part")
    trainer.save_checkpoint(beside)
    os.replace(beside, path)


def _checkpoint(work: Path, run: _Run) -> dict[str, Any] | None:
    """What the last checkpoint says of the run; BadQuery where it is of another one."""
    path = work / CHECKPOINT
    if not path.exists():
        return None
    with _unbroken(path):
        saved: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)["basin"]
        key = {name: saved["key"][name] for name in run.key()}
    for name, value in run.key().items():
        if key[name] != value:
            raise BadQuery(
                Mistake("work", f"{path} is of a run with other {name}", "give another folder")
            )
    with _unbroken(path):
        run.on_load_checkpoint({"basin": saved})
    return saved


@contextlib.contextmanager
def _unbroken(path: Path) -> Iterator[None]:
    """Half a file, a text, a checkpoint of another program: each fails in a way of its own."""
    try:
        yield
    except MemoryError:
        raise
    except Exception:
        remedy = "delete it, or give another folder"
        raise BadQuery(Mistake("work", f"{path} is broken", remedy)) from None


def _make(work: Path) -> None:
    """The folder, where there is none yet."""
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        problem = f"{work} is no folder to write to: {error.strerror or error}"
        raise BadQuery(Mistake("work", problem, "name another")) from None


def _loggers(work: Path, done: int) -> list[Logger]:
    """One set of logs for each start, so that a resumption keeps those before it."""
    version = f"from_{done:08d}"
    return [
        CSVLogger(str(work), name="logs", version=version),
        TensorBoardLogger(str(work), name="tensorboard", version=version),
    ]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Lightning without its banners: progress goes to the bar, figures to the logs."""
    names = ("pytorch_lightning", "pytorch_lightning.utilities.rank_zero", "lightning.pytorch")
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*LeafSpec.*")
            warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")
            warnings.filterwarnings("ignore", message=".*directory .* exists and is not empty.*")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
