"""The numbers of networks: parameters, and the buffers that a checkpoint holds, averaged together.

    a <- memory a + (1 - memory) now

Weights that are averaged need the statistics that belong to them (those of batch normalization), so
floating buffers are averaged as weights are; whole numbers, such as counts, are copied.
"""

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn


def numbers(net: nn.Module) -> dict[str, Tensor]:
    """Parameters and kept buffers by name, themselves and not copies."""
    kept = net.state_dict(keep_vars=True)
    buffers = {name: t for name, t in net.named_buffers() if name in kept}
    return dict(net.named_parameters()) | buffers


def copied(net: nn.Module) -> dict[str, Tensor]:
    """The same, as copies."""
    return {name: t.detach().clone() for name, t in numbers(net).items()}


@torch.no_grad()
def put(net: nn.Module, values: Mapping[str, Tensor]) -> None:
    """Writes values into a network; what they leave out stays."""
    for name, t in numbers(net).items():
        if name in values:
            t.copy_(values[name])


@torch.no_grad()
def move(average: Mapping[str, Tensor], net: nn.Module, memory: float) -> None:
    """One step of a running mean, in place."""
    for name, weight in net.named_parameters():
        average[name].lerp_(weight, 1 - memory)
    for name, buffer in net.named_buffers():
        if name in average:
            _move(average[name], buffer, memory)


def _move(average: Tensor, now: Tensor, memory: float) -> None:
    """Masks of buffers hold inf, which has no mean: it is copied."""
    if not average.is_floating_point():
        average.copy_(now)
        return
    mean = average.lerp(now, 1 - memory)
    average.copy_(torch.where(mean.isfinite(), mean, now))


@contextlib.contextmanager
def standing(net: nn.Module, values: Mapping[str, Tensor]) -> Iterator[None]:
    """Within, a network holds these values and is asked, not trained (no dropout, statistics as
    they are); after it all is as it was."""
    before = copied(net)
    modes = {module: module.training for module in net.modules()}
    put(net, values)
    net.eval()
    try:
        yield
    finally:
        put(net, before)
        for module, mode in modes.items():
            module.training = mode
