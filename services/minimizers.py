"""Minimizers by name: `cp_sat` is the class in engine/minimizers/cp_sat.py, made with defaults."""

import importlib
import inspect
import pkgutil

import engine.minimizers
from engine.errors import BadQuery, Mistake, known
from engine.minimizer import Minimizer


def names() -> list[str]:
    """The names of all minimizers that can be asked for."""
    return sorted(module.name for module in pkgutil.iter_modules(engine.minimizers.__path__))


def minimizer_named(name: str) -> Minimizer:
    """The minimizer of a name, with its defaults. Raises BadQuery for a name that is none, and
    where a package that it needs is not installed."""
    every = names()
    if name not in every:
        raise BadQuery(Mistake("options.minimizer", f"{name!r} is none", known(name, every)))
    try:
        module = importlib.import_module(f"engine.minimizers.{name}")
    except ModuleNotFoundError as error:
        said = f"{name!r} needs {error.name}, which is not installed"
        remedy = "pip install 'basin[exact]'"
        raise BadQuery(Mistake("options.minimizer", said, remedy)) from None
    own = [
        kind
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, Minimizer) and kind.__module__ == module.__name__
    ]
    if any(field.default is field.empty for field in inspect.signature(own[0]).parameters.values()):
        said = f"{name!r} wraps another minimizer"
        raise BadQuery(Mistake("options.minimizer", said, "name one that stands alone"))
    return own[0]()
