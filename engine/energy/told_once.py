"""What a term makes of its inputs alone, such as what a network says of pictures, is made once."""

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from engine.domain import Given


class _Made(NamedTuple):
    """What was made last, and of what."""

    told: list[Tensor]  # copies: who lent numbers may write to their memory behind torch's back
    there: list[Tensor]  # (B,) bool of each `Given`: states that were told any of it
    weights: list[tuple[Any, ...]]  # where each of the term's own stood, and how often written to
    out: Tensor  # (B, ...)

    def out_of(self, tensors: Sequence[Tensor]) -> Tensor | None:
        """What was made of these numbers; None unless they are those of before, or of all states
        but those that were told nothing: energies are not asked about these."""
        kinds = [(x.shape[1:], x.dtype) for x in tensors]
        if [(x.shape[1:], x.dtype) for x in self.told] != kinds:
            return None
        if _same(self.told, tensors):
            return self.out
        at = functools.reduce(torch.logical_and, self.there) if self.there else None
        if at is None or int(at.sum()) != len(tensors[0]) or not int(at.sum()) < len(at):
            return None
        return self.out[at] if _same([x[at] for x in self.told], tensors) else None


class _Memory:
    """What was made last by each method of a term; a copy remembers nothing."""

    def __init__(self) -> None:
        self.made: dict[str, _Made] = {}

    def __deepcopy__(self, memo: Any) -> "_Memory":
        return _Memory()

    def __reduce__(self) -> tuple[type["_Memory"], tuple[()]]:
        return _Memory, ()


def told_once(method: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A method of a term that is handed what inputs tell, tensors or `Given`, and nothing else, and
    says of each state what belongs to it. It is asked once as long as the numbers are the same, for
    the structure by which is searched and for the energies by which is checked.

    What it gives must not be written to, and may hang on no more than these numbers, parameters and
    buffers. One batch of numbers is kept with it. Weights that are changed through `.data` are not
    seen to be others. Where a slope is wanted, or random numbers of torch are drawn, as by dropout
    in training, it is asked every time.
    """

    @functools.wraps(method)
    def asked(self: nn.Module, *told: Tensor | Given) -> Tensor:
        own = [*itertools.chain(self.parameters(), self.buffers())]
        tensors = [x for one in told for x in (one if isinstance(one, Given) else (one,))]
        sloped = torch.is_grad_enabled() and any(x.requires_grad for x in (*own, *tensors))
        if sloped or any(x.is_inference() for x in (*own, *tensors)):
            return method(self, *told)
        weights = [(_place(x), x._version, x.device, x.dtype) for x in own]
        memory: _Memory = vars(self).setdefault("_told_once", _Memory())
        last = memory.made.get(method.__name__)
        if last is not None and last.weights == weights:
            known = last.out_of(tensors)
            if known is not None:
                return known
        drawn = torch.get_rng_state()
        out = method(self, *told)
        if torch.equal(drawn, torch.get_rng_state()):
            there = [one.present.any(1) for one in told if isinstance(one, Given)]
            copies = [x.detach().clone() for x in tensors]
            memory.made[method.__name__] = _Made(copies, there, weights, out)
        return out

    return asked


def _same(some: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    """Whether tensors hold the same numbers."""
    pairs = [*zip(some, others, strict=True)]
    if any((a.shape, a.dtype, a.device) != (b.shape, b.dtype, b.device) for a, b in pairs):
        return False
    return all(torch.equal(a, b) for a, b in pairs)


def _place(x: Tensor) -> tuple[Any, ...]:
    return (x.data_ptr(), x.stride()) if x.layout is torch.strided else (id(x),)
