"""Files of trained weights: what they refuse."""

import math
from pathlib import Path

import pytest
import torch

from engine.errors import BadQuery
from modules.shared.weights import (
    Weights,
    described,
    read_weights,
    save_described,
    write_weights,
)


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_numbers_that_are_not_finite_are_refused_by_name(tmp_path: Path, wrong: float) -> None:
    path = tmp_path / "w.safetensors"
    write_weights(path, "k", Weights({"net.bias": torch.tensor([0.0, wrong])}, {}))
    with pytest.raises(BadQuery, match=r"net\.bias holds numbers that are not finite"):
        read_weights(str(path), "k", tmp_path)


def test_whole_numbers_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    write_weights(path, "k", Weights({"order": torch.tensor([3, 1])}, {"made": "here"}))
    assert read_weights(str(path), "k", tmp_path).tensors["order"].tolist() == [3, 1]


@pytest.mark.parametrize("wrong", [math.nan, -math.inf])
def test_settings_that_are_not_finite_are_refused(tmp_path: Path, wrong: float) -> None:
    path = tmp_path / "w.safetensors"
    write_weights(path, "k", Weights({}, {"scale": wrong}))
    with pytest.raises(BadQuery, match="holds no weights"):
        read_weights(str(path), "k", tmp_path)
    save_described(path, "f", {}, {"quantiles": [0.0, wrong]})
    with pytest.raises(ValueError):
        described(path.read_bytes(), "f")
