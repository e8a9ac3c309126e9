"""Answers as pictures: a PNG for every variable of real numbers with a height and a width, and a
sheet of every board that was read from a picture."""

import math
import re
from itertools import chain, count
from pathlib import Path
from typing import Any

import torch

from engine.errors import BadQuery, Mistake
from modules.shared.sheet import save_png, write_png
from services.cli.ask import Writer
from services.formats import Asked
from services.query import Query, RealSpec


class Drawn:
    """Writes what another writer does, and pictures into a folder beside it."""

    def __init__(self, folder: Path, inner: Writer):
        self.folder, self.inner = folder, inner
        self._owners: dict[str, str] = {}  # of each beginning of names, the file it stands for
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            problem = f"{folder} is no folder to write to: {error.strerror or error}"
            raise BadQuery(Mistake("--pictures", problem, "name another")) from None

    def write(self, asked: Asked, row: int, answer: Any) -> None:
        self.inner.write(asked, row, answer)
        if not answer.values:
            return
        source = self._beginning(asked.source)
        sheet = asked.pictured.sheet(row, answer) if asked.pictured else None
        begin = f"{source}_{asked.numbers[row]}"
        try:
            for name, spec in pictured(asked.query).items():
                path = self.folder / f"{begin}_{name}.png"
                write_png(path, shade(answer.values[name], spec))
            if sheet is not None:
                path = self.folder / f"{begin}_sheet.png"
                save_png(path, sheet)
        except OSError as error:
            problem = f"{path}: {error.strerror or error}"
            raise BadQuery(Mistake("--pictures", problem, "name another folder")) from None

    def _beginning(self, source: str) -> str:
        """What the names of the pictures of a file begin with, which no other file of the run
        has."""
        stem = re.sub(r"\W+", "_", Path(source).stem) or "answer"
        names = chain([stem], (f"{stem}-{k}" for k in count(2)))
        return next(n for n in names if self._owners.setdefault(n.casefold(), source) == source)


def pictured(query: Query) -> dict[str, RealSpec]:
    """The variables that are pictures: real numbers with a height and a width."""
    every = query.variables.items()
    return {n: v for n, v in every if isinstance(v, RealSpec) and len(v.shape) == 2}


def shade(values: Any, spec: RealSpec) -> torch.Tensor:
    """Numbers as shades from 0, black, to 1: between the edges where these are numbers for all
    sites, else between the least and the largest of them. -> (h, w)"""
    x = torch.tensor(values, dtype=torch.float64)
    low, high = (_edge(edge, own) for edge, own in ((spec.low, x.min()), (spec.high, x.max())))
    return (x / 2 - low / 2) / max(high / 2 - low / 2, 1e-12)  # halves: no width is infinite


def _edge(edge: Any, own: torch.Tensor) -> float:
    return float(edge) if edge is not None and math.isfinite(edge) else float(own)
