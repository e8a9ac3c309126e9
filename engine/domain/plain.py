"""Arrays, ranges and numbers of other libraries as Python's own lists and numbers."""

from collections.abc import Iterable, Mapping, Set
from typing import Any

import numpy as np
from torch import Tensor

OWN = {int, float, bool, str, type(None)}  # types that are plain already


def plain(value: Any) -> Any:
    """Lists all the way down, with Python's own numbers in them.

    Texts and mappings stay as they are, and so do sets, which have no order to rely on.
    """
    if type(value) in OWN:
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Tensor):
        return value.detach().cpu().tolist()
    if hasattr(type(value), "__array__"):  # numpy's own, and series and frames of pandas
        array = np.asanyarray(value)  # what is masked becomes None
        return plain_list(array.tolist()) if array.dtype == object else array.tolist()
    if isinstance(value, Iterable) and not isinstance(value, (str, bytes, Mapping, Set)):
        return plain_list(value)
    return value


def plain_list(values: Iterable[Any]) -> list[Any]:
    """The entries of a collection, each of them plain; a set is taken too."""
    return [plain(value) for value in values]
