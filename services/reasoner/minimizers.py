"""Minimizers by name: `cp_sat` is the class in engine/minimizers/cp_sat.py, made with defaults."""

import importlib
import inspect
import pkgutil

import engine.minimizers
from engine.errors import BadQuery, Mistake, known
from engine.minimizer import Minimizer

WRAPS = "wraps another minimizer"


def names() -> list[str]:
    """The names of all minimizers that can be asked for. Every file is imported to tell; one whose
    packages are not installed is listed too."""
    files = sorted(module.name for module in pkgutil.iter_modules(engine.minimizers.__path__))
    return [name for name in files if not _amiss(name)]


def minimizer_named(name: str) -> Minimizer:
    """The minimizer of a name, with its defaults. Raises BadQuery for a name that is none, and
    where a package that it needs is not installed."""
    files = {module.name for module in pkgutil.iter_modules(engine.minimizers.__path__)}
    amiss = _amiss(name) if name in files else "is none"
    if amiss:
        raise BadQuery(Mistake("options.minimizer", f"{name!r} {amiss}", known(name, names())))
    try:
        made = _class_of(name)
    except ModuleNotFoundError as error:
        said = f"{name!r} needs {error.name}, which is not installed"
        remedy = "pip install 'basin[exact]'"
        raise BadQuery(Mistake("options.minimizer", said, remedy)) from None
    assert made is not None
    return made()


def _amiss(name: str) -> str:
    """Why a file offers no minimizer that can be asked for; empty where it does."""
    try:
        made = _class_of(name)
    except ModuleNotFoundError:
        return ""
    if made is None:
        return "is none"
    fields = inspect.signature(made).parameters.values()
    return WRAPS if any(field.default is field.empty for field in fields) else ""


def _class_of(name: str) -> type[Minimizer] | None:
    """The minimizer that a file defines; None where it defines none."""
    module = importlib.import_module(f"engine.minimizers.{name}")
    own = (
        kind
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, Minimizer) and kind.__module__ == module.__name__
    )
    return next((kind for kind in own if not inspect.isabstract(kind)), None)
