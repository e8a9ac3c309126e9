"""Characters seen several times: the mean of chances, only where there is doubt."""

import torch

from modules.image._boards.views import SURE, VIEWS, seen, seen_often


def strokes(n, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return torch.rand(n, 28, 28, generator=rng) * (torch.rand(n, 28, 28, generator=rng) > 0.7)


def chances(pictures):
    """Of three labels, by where ink lies."""
    x = pictures.double()
    ink = [x[:, :14].sum((1, 2)), x[:, 14:].sum((1, 2)), x[:, :, :14].sum((1, 2))]
    return torch.stack(ink, 1).log_softmax(1)


def test_chances_are_the_mean_over_views():
    x = strokes(40)
    every = torch.stack([chances(x), *(chances(seen(x, *view)) for view in VIEWS)]).exp()
    told = seen_often(chances, x)
    doubted = chances(x).exp().amax(1) < SURE
    assert doubted.any() and not doubted.all()
    torch.testing.assert_close(told[doubted].exp(), every.mean(0)[doubted])
    assert torch.equal(told[~doubted], chances(x)[~doubted])
    torch.testing.assert_close(told.exp().sum(1), torch.ones(40).double())


def test_together_is_as_alone():
    x = strokes(5, 1)
    together = seen_often(chances, x)
    for k in range(len(x)):
        torch.testing.assert_close(seen_often(chances, x[k : k + 1])[0], together[k])


def test_what_is_sure_is_seen_once():
    asked = []

    def sure(pictures):
        asked.append(len(pictures))
        return torch.tensor([[0.0, -40.0]]).double().expand(len(pictures), 2)

    seen_often(sure, strokes(4))
    assert asked == [4]
    assert seen_often(sure, strokes(0)).shape == (0, 2)


def test_a_view_that_changes_nothing_is_the_picture():
    x = strokes(3)
    torch.testing.assert_close(seen(x, 0.0, 0.0, 1.0, 1.0), x)
    wider = seen(torch.ones(1, 28, 28), 0.0, 0.0, 0.5, 1.0)[0]
    assert wider[:, :5].sum() == 0 and wider[:, 14].min() > 0.99


def test_what_looks_like_nothing_is_seen_once():
    x = strokes(40)
    none = int(chances(x).argmax(1).mode().values)
    told, once = seen_often(chances, x, none), chances(x)
    shut = once.argmax(1) == none
    assert shut.any() and torch.equal(told[shut], once[shut])
    torch.testing.assert_close(told[~shut], seen_often(chances, x)[~shut])
