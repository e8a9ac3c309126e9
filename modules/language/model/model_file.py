"""A trained character model in one safetensors file: numbers in half precision, and settings.

The energies are those of the numbers as they are stored.
"""

from collections.abc import Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path

from modules.language.model.network import CharacterNet
from modules.shared.weights import described, loaded, restored, save_described

FOLDER = Path(__file__).parent  # of what ships with Basin
FORMAT = "basin.characters.1"
REMEDY = "make it with `basin train language.model --data FILE --out W.safetensors`"


def write_model(path: Path, net: CharacterNet, made: str, notes: Sequence[str] = ()) -> None:
    """Writes the file; it is whole, or the one before."""
    about = {
        "pieces": list(net.pieces),
        "embedded": net.embedded,
        "hidden": net.hidden,
        "dropped": asdict(net.dropped),
        "recalls": net.recalls,
        "made": made,
        "notes": list(notes),
    }
    numbers = {name: t.half() for name, t in net.state_dict().items()}
    save_described(path, FORMAT, numbers, about)


def load_model(path: str) -> CharacterNet:
    """The model of a file; a bare name is also looked for beside the kinds that ship with Basin.

    Raises BadQuery under `weights`.
    """
    return loaded(path, FOLDER, _model, "character model", REMEDY)


@lru_cache(maxsize=4)
def _model(raw: bytes) -> CharacterNet:
    about, tensors = described(raw, FORMAT)
    recalls = int(about.get("recalls", 0))
    sizes = int(about["embedded"]), int(about["hidden"])
    return restored(CharacterNet(about["pieces"], *sizes, recalls=recalls), tensors)


def rounded(net: CharacterNet) -> CharacterNet:
    """The same network with the numbers as a file will hold them."""
    out = CharacterNet(net.pieces, net.embedded, net.hidden, recalls=net.recalls)
    return restored(out, {name: t.detach().half() for name, t in net.state_dict().items()})
