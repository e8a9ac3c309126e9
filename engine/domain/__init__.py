"""Variables and the values they may take."""

from engine.domain.base import Domain, State
from engine.domain.finite import Finite
from engine.domain.real import Real
from engine.domain.variable import Variable, View
from engine.plain import flatten, nest, place_path

__all__ = ["Domain", "Finite", "Real", "State", "Variable", "View", "flatten", "nest", "place_path"]
