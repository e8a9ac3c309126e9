"""What a picture costs by a Hat EBM: an energy on top of a generator."""

from pathlib import Path

from engine.energy.lesson import Lesson
from modules.image._generated.term import Generated, Parameters

KIND, FORM = "image.hat", "basin.image.hat.1"

__all__ = ["Hat", "Parameters"]


class Hat(Generated):
    """What a picture costs by an energy learned on top of a generator (Hat EBM).

    E(x) = H(x) / T,   learned from x against y + G(z), y and z moved under H
    (`engine.learning.objectives.hat`), and so that slopes lead from noise back to pictures
    (`multiscale`); G is the decoder of an autoencoder, no sampler without H. T is fitted on
    held-out pictures at one width of noise: E ranks and points, and is no log-density (not
    calibrated); weigh it beside what is in nats. Scope: a picture (height, width) of real numbers,
    0 black to 1. It proposes pictures that G made, moved as in training, and where pixels are
    given, pictures that have them. A picture dearer than `band` of held-out ones is flagged
    ABSTAIN. `digits8.safetensors` ships, of scikit-learn's digits. Source: Hill et al., "Learning
    probabilistic models from generator latent spaces with Hat EBM", NeurIPS 2022. BadQuery: no
    such weights, a picture of another size, labels in place of numbers.
    """

    kind, form, shipped = KIND, FORM, Path(__file__).parent

    @classmethod
    def learn(cls, lesson: Lesson) -> list[str]:
        from modules.image.hat.train import learn  # Lightning is loaded to train, not to ask

        return learn(lesson)
