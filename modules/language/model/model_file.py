"""A trained character model in one safetensors file: numbers in half precision, and settings.

The energies are those of the numbers as they are stored.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from modules.language.model.causal import Causal
from modules.language.model.network import CharacterNet
from modules.language.model.pointing import Pointing
from modules.shared.weights import described, loaded, restored, save_described

FOLDER = Path(__file__).parent  # of what ships with Basin
FORMAT = "basin.characters.1"
REMEDY = "make it with `basin train language.model --data FILE --out W.safetensors`"


def write_model(
    path: Path, net: CharacterNet | Pointing, made: str, notes: Sequence[str] = ()
) -> None:
    """Writes the file; it is whole, or the one before."""
    about = {**net.settings(), "made": made, "notes": list(notes)}
    numbers = {name: t.half() for name, t in net.state_dict().items()}
    save_described(path, FORMAT, numbers, about)


def load_model(path: str) -> Causal:
    """The model of a file; a bare name is also looked for beside the kinds that ship with Basin.

    Raises BadQuery under `weights`.
    """
    return loaded(path, FOLDER, _model, "character model", REMEDY)


@lru_cache(maxsize=4)
def _model(raw: bytes) -> CharacterNet | Pointing:
    about, tensors = described(raw, FORMAT)
    return restored(_built(about), tensors)


def _built(about: Mapping[str, Any]) -> CharacterNet | Pointing:
    """As the settings of a file say: of those that point, how far."""
    sizes = int(about["embedded"]), int(about["hidden"])
    net = CharacterNet(about["pieces"], *sizes, recalls=int(about.get("recalls", 0)))
    if "reach" not in about:
        return net
    return Pointing(net, int(about["reach"]), int(about["keyed"]))


def rounded(net: CharacterNet | Pointing) -> CharacterNet | Pointing:
    """The same network with the numbers as a file will hold them."""
    numbers = {name: t.detach().half() for name, t in net.state_dict().items()}
    return restored(_built(net.settings()), numbers)
