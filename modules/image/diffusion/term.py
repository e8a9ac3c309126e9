"""What a picture costs by an energy that was learned with a diffusion sampler of a few steps."""

import torch
from torch import Tensor

from engine.domain import Domain, Real, Variable, View
from engine.energy.lesson import Lesson
from engine.energy.term import Known
from engine.random import Stream
from modules.image._generated.term import BAND, Learned, Parameters, given_pixels
from modules.image.diffusion.stepping import FOLDER, load_stepping

SHIPPED = "digits8.safetensors"

__all__ = ["Diffusion", "Parameters"]


class Diffusion(Learned):
    """What a picture costs by an energy learned with a sampler of few Gaussian steps (DxMI).

    E(x) = H(x) / T;   H tells data from the ends of a sampler that seeks low H and keeps its
    entropy (`engine.learning.objectives.max_entropy_irl`). T is fitted on held-out pictures at one
    width of noise: E ranks and points, and is no log-density (not calibrated); weigh it beside what
    is in nats. Scope: a picture (height, width) of real numbers, 0 black to 1. It proposes pictures
    of the sampler, and where pixels are given, pictures that were led to them. A picture dearer
    than `band` of held-out ones is flagged ABSTAIN. `digits8.safetensors` ships, of scikit-learn's
    digits. Source: Yoon et al., "Maximum entropy inverse reinforcement learning of diffusion models
    with energy-based models", NeurIPS 2024. BadQuery: no such weights, a picture of another size,
    labels in place of numbers.
    """

    shipped = FOLDER
    data_sets = ("digits",)  # of scikit-learn

    def __init__(self, picture: Variable | View, weights: str, band: float = BAND):
        made = load_stepping(weights)
        super().__init__(picture, made, band)
        self.stepping = made

    def propose(
        self, particles: int, rng: Stream, known: Known, *domains: Domain
    ) -> tuple[Tensor, ...]:
        """Pictures of the sampler that have the pixels given; row by row, so that a row has the
        same ones, to the bit, in any company."""
        del known
        seen, there = given_pixels(domains[0], particles, self.dtype)
        each = zip(seen.split(particles), there.split(particles), strict=True)
        made = [
            self.stepping.pictures(particles, rng.select(torch.tensor([row])), *own)
            for row, own in enumerate(each)
        ]
        return (torch.cat(made).double(),)

    @classmethod
    def learn(cls, lesson: Lesson) -> list[str]:
        from modules.image.diffusion.train import learn  # Lightning is loaded to train, not to ask

        return learn(lesson)

    @classmethod
    def example(cls) -> "Diffusion":
        return cls(Variable("picture", Real((8, 8), 0.0, 1.0)), weights=SHIPPED)
