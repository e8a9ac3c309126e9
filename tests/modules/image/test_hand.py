"""Digits and letters told apart by their sizes: only where a row shows that they differ."""

import numpy as np
import pytest
import torch

from engine.domain import Finite, Given, Input, Real, Told, Variable
from engine.errors import BadQuery
from examples.boards import text_picture
from modules.image._boards.hand import FEW, USUAL, chances_of, fitted, with_sizes
from modules.image._boards.reading import WEIGHTS
from modules.image._boards.strips import HIGH, strip_of
from modules.image.numeral import Numeral

KINDS = np.array([0] * 9 + [1] * 7)
SURE, COUNT = 9.0, 80


def row(seed: int, digits: float, letters: float, spread: float = 0.03):
    """Prices of a row whose first picture may be a 9 or a G, kinds and sizes of its characters."""
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 16, COUNT)
    prices = np.full((COUNT, 16), SURE)
    prices[np.arange(COUNT), values] = 0.002
    prices[0] = SURE
    prices[0, [8, 15]] = np.log(2)
    kinds = KINDS[values]
    kinds[0] = seed % 2
    sizes = np.exp(np.where(kinds, np.log(letters), np.log(digits)) + rng.normal(0, spread, COUNT))
    return prices, kinds, sizes


def gap(prices) -> float:
    """What the ninth digit costs more than the last letter, in the first picture."""
    return float(prices[0, 8] - prices[0, 15])


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("digits", "letters"), [(0.4, 0.6), (0.6, 0.4)])
def test_sizes_tell_kinds_whichever_is_the_larger(seed, digits, letters):
    prices, kinds, sizes = row(seed, digits, letters)
    told = gap(with_sizes(prices, KINDS, sizes))
    assert told > 2 if kinds[0] else told < -2


@pytest.mark.parametrize("seed", range(6))
def test_where_kinds_are_of_one_size_little_is_said(seed):
    prices, _, sizes = row(seed, 0.5, 0.5)
    assert abs(gap(with_sizes(prices, KINDS, sizes))) < 0.7
    same = with_sizes(prices, KINDS, np.full(COUNT, 0.5))
    assert np.abs(same - prices).max() < 0.4
    assert np.allclose(with_sizes(prices[:1], KINDS, sizes[:1]), prices[:1], atol=1e-3)


@pytest.mark.parametrize("stray", [0.0, 1e-9, 0.9, 50.0])
def test_a_stray_size_says_nothing_of_itself_nor_of_others(stray):
    prices, _, sizes = row(1, 0.4, 0.6)
    before = with_sizes(prices, KINDS, sizes)
    sizes[5] = stray
    after = with_sizes(prices, KINDS, sizes)
    assert np.abs(after[5] - prices[5]).max() < 1.0
    assert abs(gap(after) - gap(before)) < 0.5


def test_sizes_share_out_the_chance_of_a_picture_and_leave_values_of_a_kind_as_they_stand():
    prices, _, sizes = row(2, 0.4, 0.6)
    prices = prices + np.random.default_rng(0).uniform(0, 3, prices.shape)
    sizes[7] = np.nan
    told = with_sizes(prices, KINDS, sizes)
    assert np.allclose(np.exp(-told).sum(1), np.exp(-prices).sum(1))
    for kind in (0, 1):
        own, new = prices[:, kind == KINDS], told[:, kind == KINDS]
        assert np.allclose(own - own[:, :1], new - new[:, :1])
    assert (told[7] == prices[7]).all()


def test_one_kind_alone_is_left_as_it_is():
    prices, _, sizes = row(3, 0.4, 0.6)
    assert (with_sizes(prices[:, :9], KINDS[:9], sizes) == prices[:, :9]).all()


@pytest.mark.parametrize("seed", range(4))
def test_what_is_fitted_is_likeliest(seed):
    prices, _, sizes = row(seed, 0.45, 0.55, 0.06)
    said = np.stack([np.exp(-prices[:, kind == KINDS]).sum(1) for kind in (0, 1)], 1)
    said /= said.sum(1, keepdims=True)
    x = np.log(sizes)

    def likely(mean, spread):
        seen = np.log((said * chances_of(x, mean, spread)).sum(1)).sum()
        off = USUAL**2 + np.square(mean - np.median(x))
        return seen - FEW / 2 * (np.log(spread) + off / spread).sum()

    mean, spread = fitted(x, said)
    best, rng = likely(mean, spread), np.random.default_rng(seed)
    for _ in range(200):
        other = likely(mean + rng.normal(0, 0.02, 2), spread * np.exp(rng.normal(0, 0.2, 2)))
        assert other <= best + 1e-6


def numeral(count: int, notation: str = "letters"):
    pictures = Input("pictures", Real((count, HIGH, 64), 0.0, 1.0))
    sizes = Input("sizes", Real((count,), 0.0))
    numbers = Variable("numbers", Finite(tuple(range(17)), (count,)))
    return Numeral(pictures, sizes, numbers, weights=WEIGHTS, notation=notation, blank=0)


def strips(texts) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.stack([strip_of(np.pad(text_picture(t, 36, rng), 4), 64) for t in texts])


def told(values) -> Given:
    x = torch.as_tensor(np.asarray(values))
    return Given(x, torch.ones(x.shape[:2], dtype=torch.bool))


def test_a_numeral_takes_sizes_of_each_row_by_itself():
    texts = ["4", "A", "7", "C", "2", "A", "3", "C", "5", "A", "8", "C"]
    term, pictures = numeral(len(texts)), strips(texts)
    sizes = np.array([0.4, 0.6] * 6)
    both = term.costs(told([pictures] * 3), told([sizes, sizes[::-1].copy(), np.full(12, 0.5)]))
    plain = Numeral(term.scope[0], term.scope[2], weights=WEIGHTS, notation="letters", blank=0)
    alone = plain.costs(told([pictures]))[0]
    both, alone = both[:, :, 1:], alone[:, 1:]
    for k, own in enumerate((sizes, sizes[::-1].copy(), np.full(12, 0.5))):
        assert (both[k] == term.costs(told([pictures]), told([own]))[0, :, 1:]).all()
    assert np.abs(both[2] - alone).max() < 0.4
    assert np.abs(both[0] - alone).max() > 1
    assert (both >= 0).all() and (both * 1024 % 1 == 0).all()
    digits = Numeral(term.scope[0], term.scope[1], term.scope[2], weights=WEIGHTS, blank=0)
    without = Numeral(term.scope[0], term.scope[2], weights=WEIGHTS, blank=0)
    same = digits.costs(told([pictures]), told([sizes])) == without.costs(told([pictures]))
    assert same.all()


def test_as_many_sizes_as_pictures():
    pictures = Input("pictures", Real((3, HIGH, 64), 0.0, 1.0))
    numbers = Variable("numbers", Finite((1, 2), (3,)))
    for shape in ((2,), (3, 1), ()):
        with pytest.raises(BadQuery, match=r"scope\[1\].*give \[3\]"):
            Numeral(pictures, Input("sizes", Real(shape, 0.0)), numbers, weights=WEIGHTS)


def test_sizes_are_numbers_however_large():
    pictures = Input("pictures", Real((3, HIGH, 64), 0.0, 1.0))
    numbers = Variable("numbers", Finite((1, 2), (3,)))
    named = Input("sizes", Told((3,), values=("small", "large")))
    with pytest.raises(BadQuery, match=r"scope\[1\]: has named values"):
        Numeral(pictures, named, numbers, weights=WEIGHTS)
    named = Input("pictures", Told((3, HIGH, 64), values=(1, 0)))
    with pytest.raises(BadQuery, match=r"scope\[0\]: has named values"):
        Numeral(named, numbers, weights=WEIGHTS)


@pytest.mark.parametrize("odd", [0.0, -1.0, 1e-320, 1e300, np.inf])
def test_an_odd_size_leaves_prices_finite(odd):
    prices, kinds = np.array([[1.0, 2.0], [2.0, 1.0], [0.5, 3.0]]), np.array([0, 1])
    told = with_sizes(prices, kinds, np.array([odd, 0.5, 0.6]))
    assert np.isfinite(told).all()
