"""A trained table: its schema and network in one safetensors file, with exact conditional chances.

Nothing in the file is code: tensors, and the schema as JSON in the header.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from modules.discrete.tabular.network import TableNet
from modules.discrete.tabular.schema import Schema
from modules.shared.weights import described, loaded, save_described

FOLDER = Path(__file__).parent  # of what ships with Basin
FORMAT = "basin.tabular.1"
REMEDY = "make it with `basin train discrete.tabular --data FILE.csv --out W.safetensors`"


@dataclass(frozen=True, eq=False)
class TableModel:
    """schema: of the table. net: energies in nats. target: the column it was tuned for, if any.

    band: the highest energy of rows it takes for ordinary: a quantile of held-out rows, infinite
    where there were too few. made: the command that made it.
    """

    schema: Schema
    net: TableNet
    target: str | None = None
    band: float = math.inf
    made: str = ""

    def save(self, path: str | Path) -> None:
        """Writes the file; it is whole, or the one before."""
        about = {
            "schema": self.schema.plain(),
            "missing": self.schema.missing,
            "hidden": self.net.hidden,
            "target": self.target,
            "band": self.band if math.isfinite(self.band) else None,
            "made": self.made,
        }
        save_described(path, FORMAT, self.net.state_dict(), about)


def load_model(path: str) -> TableModel:
    """What a file holds; a bare name is also looked for beside the kinds that ship with Basin.

    Raises BadQuery under `weights`.
    """
    return loaded(path, FOLDER, _model, "trained table", REMEDY)


@lru_cache(maxsize=8)
def _model(raw: bytes) -> TableModel:
    about, tensors = described(raw, FORMAT)
    schema = Schema.of(about["schema"], about.get("missing"))
    net = TableNet(schema.sizes, int(about["hidden"]))
    net.load_state_dict(tensors)
    net.requires_grad_(False)
    band = math.inf if about["band"] is None else float(about["band"])
    return TableModel(schema, net, about["target"], band, about["made"])
