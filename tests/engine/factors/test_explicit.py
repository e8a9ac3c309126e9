"""How many combinations sites have, counted where that is beyond all floats."""

import warnings

import numpy as np

from engine.factors.explicit import combinations


def test_combinations_beyond_all_floats_are_infinite_without_a_warning():
    sizes = np.full((2, 256), 17)
    sizes[1, 2:] = 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert combinations(sizes).tolist() == [np.inf, 289.0]
