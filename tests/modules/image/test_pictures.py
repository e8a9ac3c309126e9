"""Pictures to learn from: whatever holds them, they come in one size, light, from 0 to 1."""

import gzip
import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from engine.errors import BadQuery
from modules.image._generated.pictures import Pictures, Seen, pictures_of
from modules.image.taught.train import TaughtOptions
from modules.parameters import validated

X = np.random.default_rng(0).integers(0, 256, (30, 4, 3)).astype(np.uint8)


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def folders(place: Path) -> Path:
    for k, one in enumerate(X):
        inside = place / f"alphabet{k // 15}" / f"letter{k // 5}"
        inside.mkdir(parents=True, exist_ok=True)
        (inside / f"{k:02d}.png").write_bytes(png(one))
    return place


def zipped(place: Path) -> Path:
    with zipfile.ZipFile(place, "w") as pack:
        for k, one in enumerate(X):
            pack.writestr(f"set/letter{k // 5}/{k:02d}.png", png(one))
    return place


def idx(place: Path) -> Path:
    head = struct.pack(">BBBB3I", 0, 0, 8, 3, *X.shape)
    place.write_bytes(gzip.compress(head + X.tobytes()))
    return place


def mat(place: Path) -> Path:
    pytest.importorskip("scipy.io").savemat(place, {"ff": X.reshape(30, 12).T})
    return place


def array(place: Path) -> Path:
    np.save(place, X)
    return place.with_suffix(".npy")


def every(pictures: Pictures) -> torch.Tensor:
    """All of them, in an order of their own. -> (n, h * w)"""
    flat = torch.cat([pictures.learned, pictures.held]).flatten(1).double()
    return flat[np.lexsort(flat.T.numpy())]


@pytest.mark.parametrize("made", [folders, zipped, idx, mat, array])
def test_every_holder_brings_the_same_pictures(made, tmp_path) -> None:
    found = pictures_of(made(tmp_path / "x"), 0, Seen(size=[4, 3]))
    wanted = torch.from_numpy(X / 255).flatten(1)
    torch.testing.assert_close(
        every(found), wanted[np.lexsort(wanted.T.numpy())], atol=1e-6, rtol=0
    )
    assert found.shape == (4, 3) and len(found.held) == 3


def test_dark_strokes_become_light_and_large_pictures_small(tmp_path) -> None:
    path = array(tmp_path / "x")
    plain, dark = (pictures_of(path, 0, Seen(ink=ink)) for ink in ("light", "dark"))
    torch.testing.assert_close(dark.held, 1 - plain.held)
    small = pictures_of(path, 0, Seen(size=[2, 3]))
    halves = plain.held.reshape(3, 2, 2, 3).mean(2)
    assert small.shape == (2, 3) and float((small.held - halves).abs().max()) < 0.2
    assert torch.equal(pictures_of(path, 0).learned, plain.learned)


def test_rows_of_numbers_need_their_size(tmp_path) -> None:
    path = mat(tmp_path / "x")
    with pytest.raises(BadQuery, match="`size`"):
        pictures_of(path, 0)
    with pytest.raises(BadQuery, match="`size`"):
        pictures_of(path, 0, Seen(size=[5, 3]))


def test_what_is_wrong_in_a_folder_is_told_with_its_name(tmp_path) -> None:
    place = folders(tmp_path / "x")
    (place / "alphabet1" / "letter4" / "odd.png").write_bytes(b"no")
    with pytest.raises(BadQuery, match="alphabet1.letter4.*picture odd.png.*is no PNG"):
        pictures_of(place, 0)


def test_options_of_a_wrong_length_or_sort_are_told_so() -> None:
    for size in ([8], [8, 8, 8]):
        with pytest.raises(BadQuery, match=rf"size: .* has {len(size)} entries; give 2"):
            validated(Seen, {"size": size}, "image.hat")
    with pytest.raises(BadQuery, match="size: .* is empty"):
        validated(Seen, {"size": []}, "image.hat")
    with pytest.raises(BadQuery, match="moves_of_latents: True is no whole number"):
        validated(TaughtOptions, {"moves_of_latents": True}, "image.taught")
