"""Cross-entropy: a linear classifier learns the chances that it was shown."""

import pytest
import torch

from engine.errors import BadQuery
from engine.learning.examples import Stored
from engine.learning.objectives.cross_entropy import CrossEntropy
from engine.learning.recipe import Recipe
from engine.learning.train import train


def test_chances_are_learned() -> None:
    """Two kinds of examples; of the first 80 % have label 1, of the second 10 %."""
    x = torch.eye(2).repeat(500, 1)
    label = torch.tensor([int(k % 10 < 8) for k in range(500)])
    other = torch.tensor([int(k % 10 < 1) for k in range(500)])
    labels = torch.stack([label, other], 1).reshape(-1)
    net = torch.nn.Linear(2, 2)
    data = Stored({"x": x, "label": labels})
    train(CrossEntropy(), {"network": net}, data, Recipe(300, 1000, 0.05))
    learned = net(torch.eye(2)).softmax(1)[:, 1]
    torch.testing.assert_close(learned, torch.tensor([0.8, 0.1]), atol=0.02, rtol=0)


def test_what_it_cannot_train_is_refused() -> None:
    data = Stored({"x": torch.eye(2), "label": torch.tensor([0, 1])})
    with pytest.raises(BadQuery, match=r"nets\.network"):
        train(CrossEntropy(), {"net": torch.nn.Linear(2, 2)}, data, Recipe(1))
    with pytest.raises(BadQuery, match="smoothing"):
        CrossEntropy(smoothing=1.0)
