"""Variables and the values they may take."""

from engine.domain.base import Domain, State, device_of
from engine.domain.finite import Finite, is_decided, one_hot, places_dtype
from engine.domain.real import Real
from engine.domain.told import Given, Told
from engine.domain.variable import Input, Variable, View
from engine.plain import flatten, nest, place_path

__all__ = [
    "Domain",
    "Finite",
    "Given",
    "Input",
    "Real",
    "State",
    "Told",
    "Variable",
    "View",
    "device_of",
    "flatten",
    "is_decided",
    "nest",
    "one_hot",
    "place_path",
    "places_dtype",
]
