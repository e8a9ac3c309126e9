"""How large the tensors are that a block of code makes."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


class Largest(TorchFunctionMode):
    """Sees every tensor that torch's own functions return, autograd's inner ones and
    sparse ones left out."""

    numbers = 0  # of the largest so far; what a tensor repeats by its strides counts once

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for x in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(x, Tensor) and x.layout == torch.strided:
                held = x.untyped_storage().nbytes() // x.element_size()
                self.numbers = max(self.numbers, min(held, math.prod(x.shape)))
        return out
