"""A picture as a learned energy sees it, with a generator that proposes where to begin."""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Self

import torch
from pydantic import Field
from torch import Tensor

from engine.domain import Domain, Real, Variable, View
from engine.energy import Term
from engine.energy.acceptance import at_every_site
from engine.energy.term import Known
from engine.errors import BadQuery, Mistake
from engine.learning.revision import normal, revised_latents, revised_pictures
from engine.moves.langevin import Langevin
from engine.random import Stream
from modules.image._generated.drawing import Drawing, load_drawing
from modules.image._generated.measured import Measured
from modules.image._generated.networks import Judge
from modules.image._generated.numbers import shape_of_numbers
from modules.parameters import Number, Strict
from modules.shared.files import File

PICTURE = "picture"  # of the energy that is trained
BAND = 0.999
CANDIDATES, NEAREST = 16, 60  # latents drawn for each start; moves towards the pixels given
PULL = 0.3  # of the curvature of |x - G(z)|^2 / (2 spread^2): what such a move takes
MOVES = 30  # of a picture that the generator made, under the energy


class Parameters(Strict):
    """Which weights, and what is usual."""

    weights: File = Field(
        description="A file of `basin train` of this kind; a bare name is also looked for beside "
        "the kinds that ship with Basin."
    )
    band: Annotated[Number, Field(gt=0, le=1)] = Field(
        BAND, description="Abstain where a picture costs more than this share of held-out ones."
    )


class Judging(Term):
    """The energy that is trained, of one picture."""

    def __init__(self, picture: Variable, judge: Judge):
        super().__init__(picture)
        self.judge = judge

    def energy(self, picture: Tensor) -> Tensor:  # (B, h, w) -> (B,)
        return self.judge(picture)


class Learned(Term):
    """Abstract: E(x) = H(x) / T of a picture x from 0 to 1, H a network.

    T is fitted on held-out pictures, at one width of noise: the energy ranks pictures and points to
    likely ones, and is no log-density, so weigh it beside what is in nats. Answers whose energy
    lies above that of `band` of held-out pictures are flagged ABSTAIN.
    """

    affine = False

    def __init__(self, picture: Variable | View, judged: Measured, band: float = BAND):
        super().__init__(picture)
        shape = shape_of_numbers(self.scope[0], "scope[0]")
        if shape != judged.shape:
            high, wide = judged.shape
            problem = f"is {shape[0]} x {shape[1]}, the weights are of {high} x {wide}"
            raise BadQuery(Mistake("scope[0]", problem, "give that shape, or other weights"))
        self.judge, self.temperature = judged.judge, judged.temperature
        self.usual = judged.band(band)

    def energy(self, picture: Tensor) -> Tensor:  # (B, h, w) -> (B,)
        return self.judge(picture) / self.temperature

    def accepts(self, domains: Sequence[Domain], tensors: Sequence[Tensor]) -> Tensor:
        with torch.no_grad():
            inside = self.energy(tensors[0].to(self.dtype)) <= self.usual
        return at_every_site(inside, domains)


class Generated(Learned):
    """Abstract: with a generator beside it. Pictures are proposed: made by the generator and moved
    as in training; where pixels are given, from latents whose pictures have them.

    kind, form: of a file of weights.
    """

    kind: ClassVar[str]
    form: ClassVar[str]
    data_sets = ("digits",)  # of scikit-learn

    def __init__(self, picture: Variable | View, weights: str, band: float = BAND):
        drawing = self.load(weights)
        super().__init__(picture, drawing, band)
        self.drawing, self.painter = drawing, drawing.painter

    @classmethod
    def load(cls, weights: str) -> Drawing:
        """What a file of this kind holds."""
        assert cls.shipped is not None
        return load_drawing(weights, cls.form, cls.kind, cls.shipped)

    @classmethod
    def example(cls) -> Self:
        return cls(Variable(PICTURE, Real((8, 8), 0.0, 1.0)), weights="digits8.safetensors")

    def propose(
        self, particles: int, rng: Stream, known: Known, *domains: Domain
    ) -> tuple[Tensor, ...]:
        """Pictures of the generator that have the pixels given, moved under the energy."""
        del known
        seen, there = given_pixels(domains[0], particles, self.dtype)
        rows = range(domains[0].rows)
        made = [
            self._proposed(
                rng.select(torch.tensor([r])),
                seen[r * particles : (r + 1) * particles],
                there[r * particles : (r + 1) * particles],
            )
            for r in rows  # one by one, so that no bit hangs on other rows
        ]
        return (torch.cat(made).double(),)

    def _proposed(self, rng: Stream, seen: Tensor, there: Tensor) -> Tensor:
        """The same of one row. (P, h, w) each -> (P, h, w)"""
        particles = len(seen)
        z = self._latents(particles, rng, seen, there.to(self.dtype))
        with torch.no_grad():
            made = self.painter(z).reshape(seen.shape)
        return self._moved(torch.where(there, seen, made), there, rng.fork(3))

    def _latents(self, particles: int, rng: Stream, seen: Tensor, there: Tensor) -> Tensor:
        """Latents whose pictures have the pixels that are there. -> (R * P, d)"""
        latent = self.drawing.latent
        many = normal(rng.fork(0), particles * CANDIDATES, latent, seen)
        many = many.reshape(len(seen), CANDIDATES, latent)
        if not bool(there.any()):
            return many[:, 0]
        with torch.no_grad():
            made = self.painter(many.flatten(0, 1)).reshape(len(seen), CANDIDATES, -1)
            away = ((made - seen.flatten(1)[:, None]) * there.flatten(1)[:, None]).square().sum(2)
        z = many[torch.arange(len(seen)), away.argmin(1)]
        spread = self.drawing.spread
        sampler = Langevin(PULL * spread**2, adjusted=False)
        return revised_latents(self.painter, z, seen, spread, sampler, NEAREST, rng.fork(1), there)

    def _moved(self, made: Tensor, there: Tensor, rng: Stream) -> Tensor:
        """Pictures after the moves of training; what was given stays. (B, h, w) -> same"""
        drawing = self.drawing
        picture = Variable(PICTURE, Real(drawing.shape, 0.0, 1.0))
        moved = revised_pictures(
            Judging(picture, self.judge),
            made,
            Langevin(drawing.move, adjusted=False),
            MOVES,
            rng,
            drawing.beta,
        )
        return torch.where(there, made, moved)


def given_pixels(domain: Domain, particles: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The pixels that are given, any number where they are open, and whether they are, for every
    particle of every row. -> (R * P, h, w), (R * P, h, w) bool"""
    assert isinstance(domain, Real)
    low = domain.low.expand(domain.rows, *domain.shape).to(dtype)
    high = domain.high.expand(domain.rows, *domain.shape).to(dtype)
    there = (low == high).repeat_interleave(particles, 0)
    return low.nan_to_num(0.0, 0.0, 0.0).repeat_interleave(particles, 0), there
