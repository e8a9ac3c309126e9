"""A picture that was seen: blurred, noisy, with pixels missing; of numbers, or of labels."""

import math
import random
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import conv2d, pad

from engine.domain import Domain, Finite, Given, Input, Real, Told, Variable, View
from engine.energy import Term
from engine.errors import BadQuery, Mistake
from engine.factors import Factors
from modules.image.smoothness import numbers_of, picture_shape
from modules.parameters import Number, Strict

Positive = Annotated[Number, Field(gt=0)]
FAR = 1e200  # what a label of a pixel costs at most: a square that is no number would rule it out


class Parameters(Strict):
    """How the picture came about."""

    noise: Positive | list[Positive] = Field(
        1.0, description="Standard deviation of a pixel; a list: of those of each label."
    )
    colours: list[Number | list[Number]] | None = Field(
        None,
        description="What a pixel of each label looks like, a number or one for each channel; "
        "without it, the label itself, a number.",
    )
    blur: list[list[Number]] | None = Field(
        None, description="Odd rows of odd length: what a pixel gets of those round it."
    )
    most: Positive | None = Field(
        None, description="A pixel costs no more than this: some are just wrong."
    )


class Observation(Term):
    """What was seen of a picture: seen = blur * picture + noise, where a pixel was seen.

    E = sum over seen pixels i of min(most, |seen_i - (blur * colour(x))_i|^2 / (2 noise^2)), in
    nats up to a constant; labels with noises of their own pay C ln(noise / the least) beside, C
    channels. Beyond its edge a picture goes on as it ends. The picture is real numbers, with a
    residual unless `most` cuts it off, or labels: each pixel is then one table. Scope: the input,
    of the shape of the picture, or (height * width,) so that single pixels may be absent, either
    with channels behind; and the picture (height, width). Source: Geman and Geman, PAMI 1984.
    BadQuery: other shapes, as many colours or noises as there are no labels, labels that are no
    numbers without colours, blur over labels.
    """

    calibrated = True
    partial = True
    fixed_structure = True
    dtype = torch.float64

    def __init__(
        self,
        seen: Input | View,
        picture: Variable | View,
        noise: float | Sequence[float] = 1.0,
        colours: Sequence[float | Sequence[float]] | None = None,
        blur: Sequence[Sequence[float]] | None = None,
        most: float | None = None,
    ):
        super().__init__(seen, picture)
        told, asked = self.scope
        self.shape = picture_shape(asked, "scope[1]")
        self.pixels = self.shape[0] * self.shape[1]
        self.finite = isinstance(asked.variable.domain, Finite)
        self.most = math.inf if most is None else float(most)
        self.flat = told.shape[:1] == (self.pixels,) and told.shape[:2] != self.shape
        lead = 1 if self.flat else 2
        if not self.flat and told.shape[:2] != self.shape or len(told.shape) > lead + 1:
            problem = f"{told.variable.name} has the shape {[*told.shape]}"
            remedy = f"give {[*self.shape]} or [{self.pixels}], and channels behind"
            raise BadQuery(Mistake("scope[0]", problem, remedy))
        self.channels = told.shape[lead] if len(told.shape) > lead else 1
        self.kernel = None if blur is None else _kernel(blur)
        if self.finite:
            self._of_labels(asked.variable.domain, colours, noise)
        else:
            self._of_numbers(colours, noise)

    def _of_labels(self, domain: Any, colours: Any, noise: Any) -> None:
        count, wrong = len(domain.values), []
        if self.kernel is not None:
            wrong.append(Mistake("blur", "over labels", "ask for real numbers"))
        if colours is None:
            shown = numbers_of(domain, "scope[1]")[:, None].repeat(self.channels, 1)
        else:
            told = _rows(colours, self.channels)
            shown = np.zeros((count, self.channels)) if told is None else told
            if told is None or len(told) != count:
                remedy = f"give {count}, one a label, each of {self.channels} channels"
                wrong.append(Mistake("colours", "are not as many as labels", remedy))
        spread = np.atleast_1d(np.asarray(noise, dtype=np.float64))
        if len(spread) not in (1, count) or not (spread > 0).all():
            wrong.append(Mistake("noise", f"{noise!r}", f"give a number above 0, or {count}"))
        if wrong:
            raise BadQuery(*wrong)
        spread = np.broadcast_to(spread, (count,)).copy()
        beside = self.channels * (np.log(spread) - np.log(spread.min()))
        for name, array in (("colours", shown), ("noise", spread), ("beside", beside)):
            self.register_buffer(name, torch.from_numpy(array), persistent=False)
        self.colours: Tensor
        self.noise: Tensor
        self.beside: Tensor

    def _of_numbers(self, colours: Any, noise: Any) -> None:
        wrong = []
        if colours is not None:
            wrong.append(Mistake("colours", "of real numbers", "leave them out"))
        if isinstance(noise, (list, tuple)) or not float(noise) > 0:
            wrong.append(Mistake("noise", f"{noise!r}", "give one number above 0"))
        if self.channels != 1:
            problem = f"has {self.channels} channels, the picture none"
            wrong.append(Mistake("scope[0]", problem, "ask for one channel after the other"))
        if wrong:
            raise BadQuery(*wrong)
        self.register_buffer("noise", torch.tensor([float(noise)], dtype=torch.float64), False)

    @property
    def squared(self) -> bool:
        return not self.finite and self.most == math.inf

    def _seen(self, seen: Given) -> tuple[Tensor, Tensor]:
        """What was seen of each pixel, and whether it was. -> (B, n, C), (B, n)"""
        values, present = seen
        there = present if self.flat else present.repeat_interleave(self.shape[1], 1)
        return values.reshape(len(values), self.pixels, self.channels).to(self.dtype), there

    def costs(self, seen: Given) -> Tensor:
        """What each label of each pixel costs. -> (B, n, k)"""
        values, there = self._seen(seen)
        away = (values[:, :, None] - self.colours) / self.noise[:, None]  # (B, n, k, C)
        costs = away.square().sum(-1) / 2 + self.beside
        return costs.clamp(max=min(self.most, FAR)) * there[..., None]

    def residual(self, seen: Given, picture: Tensor) -> Tensor | None:  # -> (B, n)
        return self._missed(seen, picture) if self.squared else None

    def _missed(self, seen: Given, picture: Tensor) -> Tensor:
        """How far what was seen lies off, in standard deviations. (B, h, w) -> (B, n)"""
        values, there = self._seen(seen)
        return (self.blurred(picture) - values[..., 0]) / self.noise * there

    def blurred(self, picture: Tensor) -> Tensor:  # (B, h, w) -> (B, n)
        x = picture.reshape(len(picture), 1, *self.shape)
        if self.kernel is not None:
            high, wide = (n // 2 for n in self.kernel.shape)
            edges = pad(x, (wide, wide, high, high), mode="replicate")
            x = conv2d(edges, self.kernel.to(x)[None, None])
        return x.reshape(len(picture), self.pixels)

    def energy(self, seen: Given, picture: Tensor) -> Tensor:  # (B, h, w[, k]) -> (B,)
        if not self.finite:
            each = 0.5 * self._missed(seen, picture).square()
            return each.clamp(max=self.most).sum(1)
        costs = self.costs(seen)
        return (costs * picture.reshape(costs.shape)).sum((1, 2))

    def cost(self, seen: Given, picture: Tensor) -> Tensor:  # (B, h, w) -> (B,)
        if not self.finite:
            return self.energy(seen, picture)
        costs = self.costs(seen)
        return costs.gather(2, picture.reshape(len(picture), -1, 1))[..., 0].sum(1)

    def factors(self, seen: Domain, picture: Domain) -> Factors | None:
        if not self.finite:
            return None
        assert isinstance(seen, Told)
        return Factors.unary(self.costs(Given(seen.tensor, seen.present)).cpu().numpy())

    def floor(self) -> float:
        return 0.0

    @classmethod
    def example(cls) -> "Observation":
        seen = Input("seen", Real((6,)))
        return cls(seen, Variable("picture", Finite((0.0, 0.5, 1.0), (2, 3))), noise=0.25)

    @classmethod
    def examples(
        cls, rng: random.Random, scope: Sequence[Variable] = ()
    ) -> Iterator["Observation"]:
        while not scope:
            rows, columns = rng.randint(1, 3), rng.randint(1, 3)
            values = tuple(0.5 * k - rng.uniform(0, 0.4) for k in range(rng.randint(2, 4)))
            domain = Finite(values, (rows, columns)) if rng.random() < 0.6 else None
            picture = Variable("picture", domain or Real((rows, columns), -1.0, 1.0))
            most = rng.choice([None, 2.0])
            seen = Input("seen", Real((rows * columns,)))
            yield cls(seen, picture, noise=rng.uniform(0.1, 2.0), most=most)


def _rows(colours: Any, channels: int) -> np.ndarray | None:
    """Colours of labels as (k, C); None where they are none."""
    try:
        array = np.array(colours, dtype=np.float64)
    except (TypeError, ValueError):
        return None
    array = array[:, None] if array.ndim == 1 else array
    fits = array.ndim == 2 and array.shape[1] == channels and np.isfinite(array).all()
    return array if fits else None


def _kernel(blur: Any) -> Tensor:
    try:
        kernel = torch.tensor([list(map(float, row)) for row in blur], dtype=torch.float64)
    except (TypeError, ValueError):
        kernel = torch.zeros(0)
    if kernel.dim() != 2 or not all(n % 2 for n in kernel.shape) or not kernel.isfinite().all():
        remedy = "give odd rows of odd length, such as [[0.25, 0.5, 0.25]]"
        raise BadQuery(Mistake("blur", "is no kernel", remedy))
    return kernel
