"""Files of trained weights: what they refuse."""

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import modules
from engine.errors import BadQuery
from modules.catalogue import Catalogue
from modules.shared.weights import (
    Weights,
    described,
    parsed,
    read_weights,
    save,
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


SHIPPED = {
    "discrete/binary_image/digits14": "discrete.binary_image",
    "discrete/learned_rules/learned_sudoku": "discrete.learned_rules",
    "discrete/tabular/loans": "discrete.tabular",
    "graph/epistemic/blocks": "graph.epistemic",
    "image/classifier/digits8": "image.classifier",
    "image/diffusion/digits8": "image.diffusion",
    "image/hat/digits8": "image.hat",
    "image/taught/digits8": "image.taught",
    "language/model/shakespeare": "language.model",
    "language/ngram/english": "language.ngram",
}
LONG = "1" + "0" * 400  # digits of a whole number that no float holds
ODD = ("null", LONG, "1e400", "-1", "0", "[]", "{}", '"x"', "[[]]")


def altered(told: object, wrong: str) -> Iterator[str]:
    """A text of plain values, as many times as it has names, each time with one that is wrong; last
    the whole."""
    assert isinstance(told, dict)
    for name in told:
        yield json.dumps({**told, name: "@"}).replace('"@"', wrong)
    yield wrong


@pytest.mark.filterwarnings("ignore:Initializing zero-element")
@pytest.mark.parametrize("file", SHIPPED)
def test_whatever_a_file_says_is_taken_or_refused(tmp_path: Path, file: str) -> None:
    """Also sizes and numbers that no float holds; never any other error."""
    kind = Catalogue(entry_points=False).kind(SHIPPED[file])
    whole = (Path(modules.__file__).parent / f"{file}.safetensors").read_bytes()
    about, tensors = parsed(whole)
    path, refused = tmp_path / "w.safetensors", 0
    term = kind.term.example()
    assert term is not None
    params = {"weights": str(path)}
    (key,) = about.keys() & {"about", "settings", "rules"}
    for wrong in ODD:
        for text in altered(json.loads(about[key]), wrong):
            save(path, tensors, {**about, key: text})
            try:
                kind.build([view.variable for view in term.scope], params)
            except BadQuery as error:
                assert all(m.path.startswith(("params.", "scope")) for m in error.mistakes), text
                refused += 1
    assert refused > len(ODD)


def test_numbers_beyond_float32_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    wide = torch.tensor([0.0, -1e39], dtype=torch.float64)
    write_weights(path, "k", Weights({"net.bias": wide}, {}))
    with pytest.raises(BadQuery, match=r"net\.bias holds numbers beyond float32"):
        read_weights(str(path), "k", tmp_path)
    write_weights(path, "k", Weights({"net.bias": wide / 10}, {}))
    assert torch.equal(read_weights(str(path), "k", tmp_path).tensors["net.bias"], wide / 10)


@pytest.mark.parametrize("name", ["image.hat", "image.diffusion"])
def test_sizes_that_a_file_names_take_no_memory(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = Catalogue(entry_points=False).kind(name)
    whole = (
        Path(modules.__file__).parent / name.replace(".", "/") / "digits8.safetensors"
    ).read_bytes()
    about, tensors = parsed(whole)
    told = json.loads(about["about"])
    sizes = [[64, 64], [64, 64], []] if name == "image.hat" else [64, 64]
    path = tmp_path / "w.safetensors"
    save(path, tensors, {**about, "about": json.dumps({**told, "hidden": sizes})})
    seen = list[bool]()
    begun = torch.nn.Linear.reset_parameters

    def watched(net: torch.nn.Linear) -> None:
        seen.append(net.weight.is_meta)
        begun(net)

    monkeypatch.setattr(torch.nn.Linear, "reset_parameters", watched)
    term = kind.term.example()
    assert term is not None
    with pytest.raises(BadQuery, match="holds no weights"):
        kind.build([v.variable for v in term.scope], {"weights": str(path)})
    assert seen and all(seen)
