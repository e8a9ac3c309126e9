"""What a picture costs by an energy that a generator and an encoder taught."""

from pathlib import Path

from engine.energy.lesson import Lesson
from modules.image._generated.term import Generated, Parameters

KIND, FORM = "image.taught", "basin.image.taught.1"

__all__ = ["Taught", "Parameters"]


class Taught(Generated):
    """What a picture costs by an energy taught beside a generator and an encoder (dual MCMC).

    E(x) = H(x) / T,   learned from x against pictures of G moved under H, while G learns from these
    moves and from latents that an encoder began (`engine.learning.objectives.dual_mcmc`); slopes
    lead from noise back to pictures (`multiscale`). T is fitted on held-out pictures at one width
    of noise: E ranks and points, and is no log-density (not calibrated); weigh it beside what is in
    nats. Scope: a picture (height, width) of real numbers, 0 black to 1. It proposes pictures of G,
    moved as in training, and where pixels are given, pictures that have them. A picture dearer than
    `band` of held-out ones is flagged ABSTAIN. `digits8.safetensors` ships, of scikit-learn's
    digits. Source: Cui and Han, "Learning energy-based model via dual-MCMC teaching", NeurIPS 2023.
    BadQuery: no such weights, a picture of another size, labels in place of numbers.
    """

    kind, form, shipped = KIND, FORM, Path(__file__).parent

    @classmethod
    def learn(cls, lesson: Lesson) -> list[str]:
        from modules.image.taught.train import learn  # Lightning is loaded to train, not to ask

        return learn(lesson)
