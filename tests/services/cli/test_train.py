"""`basin train` on examples that are no text: folders, arrays, and what is wrong with them."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from modules.shared.weights import read_weights
from services.cli import app

CHANCES = [[0.9, 0.5, 0.1], [0.9, 0.1, 0.5]]
BITS = (np.random.default_rng(0).random((12, 2, 3)) < CHANCES).astype("u1")


def basin(*words: str):
    return CliRunner().invoke(app, list(words))


def train(data: Path, out: Path, *more: str):
    words = ("--data", str(data), "--out", str(out), "--params", '{"shape": [2, 3]}', *more)
    return basin("train", "discrete.lattice", *words)


def made(place: Path, kind: str) -> Path:
    """The same examples in a file or folder of a kind."""
    if kind == "png":
        place.mkdir()
        for k, bits in enumerate(BITS):
            Image.fromarray(255 * bits).save(place / f"{k:02}.png")
    elif kind == "npz":
        place = place.with_suffix(".npz")
        np.savez(place, BITS)
    elif kind == "idx":
        head = struct.pack(">BBBBIII", 0, 0, 8, 3, *BITS.shape)
        place.write_bytes(gzip.compress(head + BITS.tobytes()))
    else:
        between = "," if kind == "csv" else ""
        place.write_text("\n".join(between.join(map(str, b)) for b in BITS.reshape(12, 6)))
    return place


def test_the_same_examples_teach_the_same_from_any_file(tmp_path):
    learned = []
    for kind in ("text", "csv", "npz", "idx", "png"):
        out = tmp_path / f"{kind}.safetensors"
        done = train(made(tmp_path / kind, kind), out, "--steps", "5")
        assert done.exit_code == 0 and done.stdout == "", done.stderr
        assert "12 examples of 6 sites" in done.stderr
        learned.append(read_weights(str(out), "discrete.lattice", tmp_path).tensors)
    assert all(np.array_equal(one["fields"], learned[0]["fields"]) for one in learned)


@pytest.mark.parametrize(
    ("kind", "spoil", "said"),
    [
        ("png", lambda p: (p / "03.png").write_bytes((p / "03.png").read_bytes()[:-9]),
         "picture 03.png: cannot be read"),
        ("png", lambda p: Image.fromarray(BITS[0].T).save(p / "03.png"),
         "picture 03.png: is 3 x 2, the first 2 x 3; give pictures of one size"),
        ("png", lambda p: Image.fromarray(7 + BITS[0]).save(p / "03.png"),
         "example [3][0][0]: 8 is no bit; write 0 and 255"),
        ("png", lambda p: [f.unlink() for f in p.iterdir()], "is an empty folder"),
        ("npz", lambda p: np.savez(p, BITS / np.nan), "has a number that is nan or inf"),
        ("npz", lambda p: np.savez(p, BITS[:, :1]), "holds examples of shape [1, 3]; give [2, 3]"),
        ("npz", lambda p: p.write_bytes(p.read_bytes()[:80]), "cannot be read"),
        ("idx", lambda p: p.write_bytes(gzip.decompress(p.read_bytes())[:-3]),
         "ends after 69 of 72 bytes"),
        ("text", lambda p: p.unlink(), "no such file"),
    ],
)  # fmt: skip
def test_mistakes_of_examples_begin_with_their_place(tmp_path, kind, spoil, said):
    data, out = made(tmp_path / "data", kind), tmp_path / "w.safetensors"
    with np.errstate(all="ignore"):
        spoil(data)
    done = train(data, out)
    assert done.exit_code == 2 and done.stdout == "" and not out.exists()
    assert all(line.startswith(f"{data}: ") for line in done.stderr.splitlines())
    assert said in done.stderr


def test_a_kind_of_texts_refuses_a_folder(tmp_path):
    out = tmp_path / "w.safetensors"
    done = basin("train", "discrete.tabular", "--data", str(tmp_path), "--out", str(out))
    assert done.exit_code == 2 and f"{tmp_path}: is a directory" in done.stderr


@pytest.mark.parametrize("kind", ["discrete.lattice", "discrete.binary_image"])
def test_what_is_missing_comes_with_its_form(tmp_path, kind):
    """The form is one that is read."""
    data = tmp_path / "bits.txt"
    data.write_text("\n".join(["01" * 98, "10" * 98]))
    words = ("train", kind, "--data", str(data), "--out", str(tmp_path / "w.safetensors"))
    done = basin(*words)
    assert done.exit_code == 2
    said, form = done.stderr.strip().split("; give it, such as ")
    assert said == "--params.shape: is missing"
    done = basin(*words, "--params", form, "--steps", "1")
    assert "params" not in done.stderr and ("14" in form) == (done.exit_code == 0)
