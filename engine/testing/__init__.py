"""The contracts that every term, domain and minimizer must pass."""

from engine.testing.domains import check_domain
from engine.testing.elsewhere import elsewhere
from engine.testing.factors import evaluate_factors
from engine.testing.minimizers import check_minimizer
from engine.testing.terms import Watched, check_term

__all__ = [
    "Watched",
    "check_domain",
    "check_minimizer",
    "check_term",
    "elsewhere",
    "evaluate_factors",
]
