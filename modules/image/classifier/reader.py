"""A trained classifier: chances of labels for pictures, and whether pictures are usual ones."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path

from torch import Tensor

from engine.errors import BadQuery, Mistake, known
from modules.image.classifier.network import Network, folded, seen_by
from modules.image.classifier.nothing import NONE
from modules.image.classifier.pictures import Ink, prepared
from modules.shared.band import Nearest, quantile_at
from modules.shared.weights import described, loaded, positive, save_described

FOLDER = Path(__file__).parent  # of what ships with Basin
FORMAT = "basin.image.classifier.1"
REMEDY = "make it with `basin train image.classifier --data FOLDER --out W.safetensors`"
QUANTILES = (0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 1.0)


@dataclass(frozen=True, eq=False)
class Reader:
    """labels: what a picture may show, texts. side: of pictures as the network sees them.

    temperature: divides the logits; fitted on held-out pictures (Guo, Pleiss, Sun, Weinberger, ICML
    2017). usual: the features of each label, to tell pictures of another sort by their distance
    from the nearest; quantiles: what it is for held-out pictures, at QUANTILES. Of the label
    `none`, of pictures that show no other, there are no usual ones: what is likelier that than
    all others is infinitely far.
    """

    labels: tuple[str, ...]
    side: int
    net: Network
    temperature: float
    usual: Nearest
    quantiles: tuple[float, ...]
    made: str = ""

    def columns(self, labels: Sequence[str]) -> list[int]:
        """The places of labels. Raises BadQuery under `labels`."""
        wrong = [
            Mistake(f"labels[{k}]", f"{label!r} was not learned", known(label, self.labels))
            for k, label in enumerate(labels)
            if label not in self.labels
        ]
        if wrong:
            raise BadQuery(*wrong)
        return [self.labels.index(label) for label in labels]

    def read(
        self, pictures: Tensor, labels: Sequence[str] | None = None, ink: Ink | None = None
    ) -> tuple[Tensor, Tensor]:
        """ln p(label | picture, it is one of `labels`), and how unusual each picture is.

        labels: those that may be; None: all. ink: `prepared`. (n, h, w) -> (n, k), (n,) float64
        """
        features, logits = seen_by(self._fast, prepared(pictures, self.side, ink))
        logits = logits.double() / self.temperature
        away = self.usual.away(features)
        if NONE in self.labels:
            none = logits.softmax(-1)[:, self.labels.index(NONE)]
            away = away.masked_fill(none > 0.5, math.inf)
        if labels is not None:
            logits = logits[:, self.columns(labels)]
        return logits.log_softmax(-1), away

    def log_chances(
        self, pictures: Tensor, labels: Sequence[str] | None = None, ink: Ink | None = None
    ) -> Tensor:
        """ln p(label | picture, it is one of `labels`). (n, h, w) -> (n, k) float64"""
        return self.read(pictures, labels, ink)[0]

    def band(self, share: float) -> float:
        """How unusual pictures may be so that `share` of held-out ones pass, between the nearest
        shares that were kept."""
        return quantile_at(QUANTILES, self.quantiles, share)

    @cached_property
    def _fast(self) -> Network:
        return folded(self.net)

    def told_by(self, made: str) -> "Reader":
        """The same, with the command that made it."""
        return replace(self, made=made)

    def save(self, path: str | Path) -> None:
        """Writes the file, numbers in 16 bits; it is whole, or the one before."""
        about = {
            "labels": self.labels,
            "side": self.side,
            "widths": self.net.widths,
            "temperature": self.temperature,
            "quantiles": self.quantiles,
            "made": self.made,
        }
        tensors = {**self.net.state_dict(prefix="net."), "means": self.usual.means}
        tensors["whitening"] = self.usual.whitening
        half = {
            name: t if name.endswith(("running_var", "whitening")) else t.half()
            for name, t in tensors.items()
            if not name.endswith("num_batches_tracked")
        }
        save_described(path, FORMAT, half, about)


def load_reader(path: str) -> Reader:
    """What a file holds; a bare name is also looked for beside the kinds that ship with Basin.

    Raises BadQuery under `weights`.
    """
    return loaded(path, FOLDER, _reader, "trained classifier of pictures", REMEDY)


@lru_cache(maxsize=8)
def _reader(raw: bytes) -> Reader:
    about, tensors = described(raw, FORMAT)
    labels, quantiles = tuple(about["labels"]), tuple(map(float, about["quantiles"]))
    if len(quantiles) != len(QUANTILES) or list(quantiles) != sorted(quantiles):
        raise ValueError("no quantiles")
    net = Network(len(labels), tuple(about["widths"]))
    own = {n.removeprefix("net."): t.float() for n, t in tensors.items() if n.startswith("net.")}
    missing = net.load_state_dict(own, strict=False).missing_keys
    if any(not name.endswith("num_batches_tracked") for name in missing):
        raise KeyError(missing[0])
    net.eval().requires_grad_(False)
    return Reader(
        labels,
        int(about["side"]),
        net,
        positive(about, "temperature"),
        Nearest(tensors["means"].float(), tensors["whitening"].float()),
        quantiles,
        about["made"],
    )
