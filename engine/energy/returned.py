"""What the methods of a term gave back, held against the form that was asked for.

Shapes and types alone are compared, no number is looked at: a call costs the same with it.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from engine.domain.told import batch_of
from engine.errors import ModuleFault

if TYPE_CHECKING:
    from engine.energy.term import Term


def energy_of(term: "Term", tensors: Sequence[Any]) -> Tensor:
    """`energy` of a batch of states. Raises ModuleFault. -> (batch,)"""
    return _numbers(term, "energy", term.energy(*tensors), batch_of(tensors))


def cost_of(term: "Term", tensors: Sequence[Any]) -> Tensor:
    """`cost` of a batch of decided states. Raises ModuleFault. -> (batch,)"""
    return _numbers(term, "cost", term.cost(*tensors), batch_of(tensors))


def violation_of(term: "Term", tensors: Sequence[Any]) -> Tensor:
    """`violation` of a batch of states, part by part. Raises ModuleFault. -> (batch, m)"""
    made, batch = term.violation(*tensors), batch_of(tensors)
    if isinstance(made, Tensor) and made.dim() == 2 and len(made) == batch:
        if made.is_floating_point():
            return made
        raise ModuleFault(term.label, f"violation {_no_floats(made)}")
    wanted = f"give shape [{batch}, parts], one number for each part of each state"
    raise ModuleFault(term.label, f"violation gave {_shown(made)}; {wanted}")


def changes_of(term: "Term", sites: Tensor, decided: Sequence[Any]) -> Tensor:
    """`changes` at some sites of decided states. Raises ModuleFault. -> (batch, m, k)"""
    made, batch = term.changes(sites, *decided), batch_of(decided)
    if isinstance(made, Tensor) and made.dim() == 3 and made.shape[:2] == (batch, len(sites)):
        if made.is_floating_point():
            return made
        raise ModuleFault(term.label, f"changes {_no_floats(made)}")
    wanted = f"give shape [{batch}, {len(sites)}, values], one number for each value of each site"
    raise ModuleFault(term.label, f"changes gave {_shown(made)}; {wanted}")


def _numbers(term: "Term", method: str, made: Any, batch: int) -> Tensor:
    if isinstance(made, Tensor) and made.shape == (batch,) and made.is_floating_point():
        return made
    raise ModuleFault(term.label, f"{method} {why_no_energies(made, batch)}")


def why_no_energies(made: Any, batch: int) -> str:
    """What is wrong with the form of some energies, in words; empty where nothing is."""
    if not isinstance(made, Tensor) or made.shape != (batch,):
        return f"gave {_shown(made)}; give shape [{batch}], one number for each state"
    return "" if made.is_floating_point() else _no_floats(made)


def _no_floats(made: Tensor) -> str:
    name = str(made.dtype).removeprefix("torch.")
    return f"gave {name}, not floating numbers; end it with .to(torch.float32)"


def _shown(made: Any) -> str:
    if isinstance(made, Tensor):
        return f"shape {[*made.shape]}"
    return "None" if made is None else f"{type(made).__name__}, not a tensor"
