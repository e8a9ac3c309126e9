"""One hand writes a kind of character at about one size: what sizes say beside the pictures.

With x = ln of the size of a character, kinds being digits and letters, and one row of characters
written by one hand,

    p(x | kind) = (1 - STRAY) N(x; m_kind, v_kind) + STRAY
    price'(value) = price(value) - ln p(x | kind(value)) + ln sum over kinds p(kind) p(x | kind)

p(kind) being what the prices say of the picture. m and v make the sizes of the row likeliest, found
by expectation and maximization (Dempster, Laird and Rubin, J. Roy. Stat. Soc. B 39, 1977). Beside
what was seen count FEW characters of each kind, about the median of all sizes and spread by USUAL:
where both kinds are of one size, nothing is said. Nothing is learned beforehand, nor decided on
the way; and one row tells which kind is the larger.
"""

import numpy as np

from engine.decimals import Floats, Ints

KINDS = 2
STRAY = 0.01  # the share of characters of any size, spread evenly over one unit of x
FEW = 4.0  # characters that a prior counts as
USUAL = 0.1  # standard deviation of x
LEAST = 0.02  # of x: sizes are whole pixels
ROUNDS = 30  # of expectation and maximization
SMALLEST, LARGEST = 1e-6, 1e6  # of a size: beyond, it counts as this one


def with_sizes(prices: Floats, kinds: Ints, sizes: Floats) -> Floats:
    """Prices of the values that characters may have, by their sizes too; nan: not known.
    prices (m, k), kinds (k,) 0 or 1, sizes (m,) -> (m, k)"""
    known = ~np.isnan(sizes)
    if not known.any() or len(np.unique(kinds)) < KINDS:
        return prices
    own = prices[known]
    likely = np.exp(own.min(1, keepdims=True) - own)
    said = np.stack([likely[:, kinds == kind].sum(1) for kind in range(KINDS)], 1)
    said /= said.sum(1, keepdims=True)
    x = np.log(np.clip(sizes[known], SMALLEST, LARGEST))
    chances = chances_of(x, *fitted(x, said))
    told = np.log((said * chances).sum(1, keepdims=True)) - np.log(chances)
    out = prices.copy()
    out[known] = own + told[:, kinds]
    return out


def fitted(x: Floats, said: Floats) -> tuple[Floats, Floats]:
    """Means and variances of both kinds, by what pictures say of the kind of each character.
    (m,), (m, 2) -> (2,), (2,)"""
    middle = float(np.median(x))
    mean, spread = np.full(KINDS, middle), np.full(KINDS, USUAL**2)
    for _ in range(ROUNDS):
        normal = (1 - STRAY) * _normal(x, mean, spread)
        share = said * normal / (said * (normal + STRAY)).sum(1, keepdims=True)  # (m, 2)
        count = share.sum(0) + FEW
        mean = (share.T @ x + FEW * middle) / count
        away = (share * np.square(x[:, None] - mean)).sum(0)
        away += FEW * (USUAL**2 + np.square(mean - middle))
        spread = np.maximum(away / count, LEAST**2)
    return mean, spread


def chances_of(x: Floats, mean: Floats, spread: Floats) -> Floats:
    """p(x | kind) of each character. (m,), (2,), (2,) -> (m, 2)"""
    return (1 - STRAY) * _normal(x, mean, spread) + STRAY


def _normal(x: Floats, mean: Floats, spread: Floats) -> Floats:  # (m,), (2,), (2,) -> (m, 2)
    away = np.square(x[:, None] - mean) / spread
    return np.exp(-away / 2) / np.sqrt(2 * np.pi * spread)
