"""The training loop, on Lightning: one loop over the updates of an objective, resumable to the bit.

    trained = train(PseudoLikelihood(), {"energy": term}, Stored({"x": x}), Recipe(steps=2000))

All randomness is counter-based: step t draws from the stream of step t, so that a checkpoint needs
only the seed, the count, the weights, the optimizers, the averages and the objective's state. A
run that was killed goes on from its last checkpoint to the same weights, bit for bit, as a run
that was not. This is the only file that knows Lightning (extra `train`).
"""

import contextlib
import logging
import math
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from engine.energy import home_of
from engine.errors import BadQuery, Mistake
from engine.learning.examples import Examples
from engine.learning.objective import Nets, Objective, Update, pack, unpack
from engine.learning.recipe import Recipe, Trained
from engine.random import Stream

try:
    import pytorch_lightning as pl
    from pytorch_lightning.callbacks import Callback, RichProgressBar
    from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger
except ImportError as error:  # the one optional import of the engine
    raise ImportError("training needs the extra `train`: pip install 'basin[train]'") from error


DATA, OBJECTIVE, FIRST = 501, 502, 503  # lanes of the stream
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
        self.state = objective.start(self.nets, self.rng.fork(FIRST).to(self.home))
        self.average = (
            {n: p.detach().clone() for n, p in self.trained.named_parameters()}
            if recipe.average is not None
            else {}
        )
        self._began = time.perf_counter()

    @property
    def home(self) -> torch.device:
        """Where the networks lie."""
        return home_of(self.trained)

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
        step, rng = self.done, self.rng.at(self.done).to(self.home)
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
        self.average = unpack(self.average, saved["average"])
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
