"""The training loop, on Lightning: one loop over the updates of an objective, resumable to the bit.

    trained = train(PseudoLikelihood(), {"energy": term}, Stored({"x": x}), Recipe(steps=2000))

All randomness is counter-based: step t draws from the stream of step t, and so do torch's own
generators within it (dropout), so that a checkpoint needs only the seed, the count, the weights and
buffers, the optimizers, the averages and the objective's state. A run that was killed goes on from
its last checkpoint to the same weights, bit for bit, as a run that was not. This is the only file
that knows Lightning (extra `train`).
"""

import contextlib
import logging
import math
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from engine.energy import home_of
from engine.errors import BadQuery, Mistake, known
from engine.learning import averages
from engine.learning.examples import Examples
from engine.learning.naming import told, told_of_net
from engine.learning.objective import Nets, Objective, Update, pack, unpack
from engine.learning.recipe import Recipe, Trained
from engine.random import Stream

try:
    import pytorch_lightning as pl
    from pytorch_lightning.callbacks import Callback, RichProgressBar
    from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger
except ImportError as error:  # the one optional import of the engine
    raise ImportError("training needs the extra `train`: pip install 'basin[train]'") from error


DATA, OBJECTIVE, FIRST, TORCH, LOOK = 501, 502, 503, 504, 505  # lanes of the stream
FREE = ("seconds", "every", "patience")  # of the recipe: may differ where a run is taken up
CHECKPOINT = "training.ckpt"


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
    """Trains the networks in place; they end with their averaged weights and buffers.

    work: a folder for checkpoints and logs (CSV and TensorBoard); the same folder again goes on
    where it stood, or raises BadQuery where it holds another run. held_out: a figure of the
    averaged networks, not in training mode, that should fall, such as an energy on held-out data.
    progress: a bar on stderr; None: where that is a terminal.
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
    home = run.home
    with _quiet():
        trainer = pl.Trainer(
            max_epochs=-1,
            accelerator="cpu" if run.home.type == "cpu" else "gpu",
            devices=1 if run.home.type == "cpu" else [run.home.index or 0],
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
    run.trained.to(home)  # Lightning leaves them on the host
    kept = run.finish()
    return Trained(nets, run.done, run.seconds, run.stopped, run.state, tuple(run.history), kept)


class _Run(pl.LightningModule):
    """The moving parts of one training: counts, averages, the objective's state."""

    def __init__(self, objective, nets, examples, recipe, held_out):
        super().__init__()
        _check(nets, examples, recipe)
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
        first = self.rng.fork(FIRST).to(self.home)
        with first.fork(TORCH).feeding_torch():
            self.state = objective.start(self.nets, first)
        self.average = {} if recipe.average is None else averages.copied(self.trained)
        self._began = time.perf_counter()

    @property
    def home(self) -> torch.device:
        """Where the networks lie."""
        return home_of(self.trained)

    @cached_property
    def key(self) -> dict[str, str]:
        """What must be the same for a run to be resumed. Raises BadQuery where a part of the
        objective cannot be told."""
        key = told("objective", self.objective) | told("recipe", self.recipe)
        for name in FREE if self.recipe.decay else (*FREE, "steps"):
            del key[f"recipe.{name}"]
        for name, net in self.nets.items():
            key |= told_of_net(f"nets.{name}", net)
        return {**key, "examples": self.examples.mark()}

    def configure_optimizers(self):
        return [self.recipe.optimizer(n).made(net.parameters()) for n, net in self.nets.items()]

    def on_train_start(self):
        optimizers = self.optimizers(use_pl_optimizer=False)
        every = optimizers if isinstance(optimizers, list) else [optimizers]
        both = zip(map(self.recipe.optimizer, self.nets), every, strict=True)
        self._optimizers = dict(zip(self.nets, both, strict=True))
        self._began = time.perf_counter() - self.seconds
        if self.done >= self.recipe.steps:
            self._stop("steps")
        elif self.recipe.patience is not None and self.waited >= self.recipe.patience:
            self._stop("patience")
        elif self.recipe.patience is not None and self.done == 0:
            self._judged()

    def training_step(self, *_):
        rng = self.rng.at(self.done).to(self.home)
        with rng.fork(TORCH).feeding_torch():
            self._step(self.done, rng)

    def _step(self, step: int, rng: Stream) -> None:
        """One step of all networks, and what follows from it."""
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
                shown[f"{'+'.join(update.names)}.loss"] = float(update.loss.detach())
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
        """One step of the networks that it names."""
        every = self._moved(update)
        if not bool(update.loss.isfinite()):
            names, loss = " and ".join(update.names), float(update.loss.detach())
            raise FloatingPointError(
                f"the loss of {names} is {loss:g} at step {step}; lower the rate, or give `clip`"
            )
        share, epoch = self.recipe.share(step), self.examples.epoch(self.recipe.batch, step)
        optimizers = [self._optimizers[name] for name in update.names]
        for settings, optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = settings.rate_at(epoch or 0) * share
            optimizer.zero_grad(set_to_none=True)
        self.manual_backward(update.loss, inputs=every)
        for name in update.names:
            if all(p.grad is None for p in self.nets[name].parameters()):
                raise _still(name)
        if update.clip is not None:
            clip_grad_norm_(every, update.clip)
        for _, optimizer in optimizers:
            optimizer.step()

    def _moved(self, update: Update) -> list[nn.Parameter]:
        """The parameters that an update moves. Raises BadQuery where it names what cannot move."""
        names = update.names
        for name in names:
            if name not in self.nets:
                problem = f"{name!r} is no network"
                raise BadQuery(Mistake("update.trains", problem, known(name, self.nets)))
        every = [p for name in names for p in self.nets[name].parameters() if p.requires_grad]
        if len({id(p) for p in every}) < len(every):
            problem = f"{names!r} share parameters, which would move twice"
            raise BadQuery(Mistake("update.trains", problem, "name one of them"))
        if not every or not update.loss.requires_grad:
            raise _still(" or ".join(names))
        return every

    def _averaged(self, step: int) -> None:
        """The running mean of the weights; its memory grows from short to `average`."""
        if self.recipe.average is not None:
            memory = min(self.recipe.average, (1 + step) / (10 + step))
            averages.move(self.average, self.trained, memory)

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
        rng = self.rng.at(self.done).fork(LOOK).to(self.home)
        with averages.standing(self.trained, self.average), rng.feeding_torch():
            figure = float(self.held_out(self.nets))
            if figure < self.best:
                self.best, self.waited, self.kept_step = figure, 0, self.done
                self.kept = averages.copied(self.trained)
            else:
                self.waited += 1
        return figure

    def finish(self) -> int:
        """Puts the weights to end with into the networks: of the best look where training waits
        for one, else the averaged ones. -> their step"""
        if self.recipe.patience is None or not self.kept:
            averages.put(self.trained, self.average)
            return self.done
        averages.put(self.trained, self.kept)
        return self.kept_step

    def _stop(self, why: str) -> None:
        self.stopped = why
        self.trainer.should_stop = True

    def on_save_checkpoint(self, checkpoint):
        checkpoint["basin"] = {
            "key": self.key,
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
        self.average = unpack(self.average, saved["average"])
        self.kept, self.kept_step = saved["kept"], saved["kept_step"]
        self.state = unpack(self.state, saved["state"])


def _check(nets: Nets, examples: Examples, recipe: Recipe) -> None:
    """Raises BadQuery for networks that cannot step, and optimizers of none."""
    wrong = [
        Mistake(f"nets.{name}", "has no parameters", "leave it out, and let the objective hold it")
        for name, net in nets.items()
        if not any(True for _ in net.parameters())
    ]
    for name, optimizer in recipe.optimizers.items():
        if name not in nets:
            wrong.append(Mistake(f"optimizers.{name}", "no such network", known(name, nets)))
        elif optimizer.fall != 1 and examples.epoch(recipe.batch, 0) is None:
            problem = f"{optimizer.fall!r}, and these examples never end: there are no passes"
            wrong.append(Mistake(f"optimizers.{name}.fall", problem, "give 1, or stored examples"))
    if wrong:
        raise BadQuery(*wrong)


def _still(names: str) -> BadQuery:
    problem = f"the loss does not depend on a parameter of {names} that may move"
    return BadQuery(Mistake("update.loss", problem, "detach less, or train another network"))


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
    path, now = work / CHECKPOINT, run.key
    if not path.exists():
        return None
    with _unbroken(path):
        saved: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)["basin"]
        was = dict(saved["key"])
    for name in now | was:  # ours first, as they stand
        if now.get(name) != was.get(name):
            both = f"{was.get(name, 'nothing')}, now {now.get(name, 'nothing')}"
            problem = f"{path} is of a run with other {name} ({both})"
            raise BadQuery(Mistake("work", problem, "give another folder"))
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
            warnings.filterwarnings("ignore", message=".*in eval mode at the start of training.*")
            warnings.filterwarnings("ignore", message=".*directory .* exists and is not empty.*")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
