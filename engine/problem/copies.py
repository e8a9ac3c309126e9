"""Terms on another device: copies of those that lie elsewhere, so that nobody's own are moved."""

import copy
from typing import TYPE_CHECKING, Any

import torch

from engine.energy import Energy, Term

if TYPE_CHECKING:
    from engine.problem.problem import Problem

Marks = list[tuple[int, int]]  # of each tensor of the terms: which it is, how often written to


def copies_on(
    device: torch.device, energy: Energy, lifted: Energy | None
) -> tuple[Energy, Energy | None]:
    """Energies whose terms lie on a device, `lifted` that which another was reduced from. Terms
    that lie there already are the same objects, and variables always; the others are copied
    together with their networks, one that stands in several of them once."""
    every = [energy] if lifted is None else [energy, lifted]
    kept: dict[int, Any] = {}  # what `deepcopy` takes as it is
    for one in every:
        for module in one.modules():
            if all(t.device == device for t in (*module.parameters(), *module.buffers())):
                kept[id(module)] = module
            for view in module.scope if isinstance(module, Term) else ():
                own = (view, view.variable, view.variable.domain)
                kept |= {id(x): x for x in own}
        for summand in one.summands():
            if id(summand.term) in kept:
                kept[id(summand)] = summand
    made = copy.deepcopy(every, kept)
    for one in made:
        if all(one is not own for own in every):
            one.to(device)
    return made[0], made[1] if lifted is not None else None


class Twins:
    """The same problem without evidence on every device that it was asked for on, as long as nobody
    has changed weights of its terms since."""

    def __init__(self, first: "Problem"):
        self._known: dict[torch.device, tuple[Problem, Marks]] = {}
        self.put(first)

    def put(self, problem: "Problem") -> None:
        """It is there from now on."""
        self._known[problem.device] = problem, _marks(problem)

    def on(self, device: torch.device) -> "Problem | None":
        """That on a device, whatever was changed since; None where there is none."""
        return self._known[device][0] if device in self._known else None

    def of(self, problem: "Problem", device: torch.device) -> "Problem | None":
        """That on a device which is still the same as this one; None where there is none."""
        pair = [self._known.get(d) for d in (problem.device, device)]
        if any(one is None or _marks(one[0]) != one[1] for one in pair):
            return None
        return self.on(device)


def _marks(problem: "Problem") -> Marks:
    energy = problem.lifted or problem.energy
    return [(id(t), t._version) for t in (*energy.parameters(), *energy.buffers())]
