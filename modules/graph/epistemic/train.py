"""`basin train graph.epistemic`: a graph network learns, and energies are fitted to it."""

from typing import Annotated, Literal

import torch
from pydantic import Field

from engine.energy.lesson import Lesson
from engine.errors import BadQuery, Mistake
from modules.graph.epistemic.backbones import backbone
from modules.graph.epistemic.data import Nodes, read_nodes, unit_rows
from modules.graph.epistemic.energies import GraphEnergy
from modules.graph.epistemic.model import KIND, GraphModel, model_of, weights_of
from modules.graph.epistemic.training import RATE, STEPS, labelled_nodes, train_network
from modules.parameters import Number, Strict, validated
from modules.shared.training import one_thread
from modules.shared.weights import write_weights


class Options(Strict):
    """What may be given as `params` of `basin train`."""

    backbone: Literal["gcn", "gat", "gin", "sage", "appnp"] = "gcn"
    hidden: int = Field(64, ge=1, le=4096)
    labelled: int = Field(20, ge=1)  # nodes of each class that it learns from
    unit: bool = False  # features are divided by their length first
    rate: Annotated[Number, Field(gt=0)] = RATE
    gamma: Annotated[Number, Field(ge=0)] = 1.0
    steps: int = Field(10, ge=0)
    alpha: Annotated[Number, Field(ge=0, le=1)] = 0.5


def learn(lesson: Lesson) -> list[str]:
    """Learns from an .npz of features, edges and labels (-1: not known), writes the weights, and
    says how good they are on nodes that they did not learn from."""
    options = Options(**validated(Options, lesson.params, KIND))
    nodes = read_nodes(lesson.data)
    classes = int(nodes.labels.max()) + 1 if len(nodes.labels) else 0
    if classes < 2 or int(nodes.labels.min()) < -1:
        problem = "has fewer than two classes" if classes < 2 else "has labels below -1"
        raise BadQuery(Mistake("labels", problem, "number classes from 0; -1 where not known"))
    labelled = labelled_nodes(nodes.labels, options.labelled, lesson.seed)
    network = backbone(
        options.backbone, nodes.features.shape[1], classes, options.hidden, lesson.seed
    )
    seen = Nodes(unit_rows(nodes.features), nodes.graph, nodes.labels) if options.unit else nodes
    with one_thread():
        trained = train_network(
            network,
            seen,
            labelled,
            rate=options.rate,
            steps=lesson.steps or STEPS,
            seconds=lesson.seconds,
            seed=lesson.seed,
            work=lesson.work,
        )
        settings = GraphEnergy(options.gamma, options.steps, options.alpha)
        model = model_of(
            network,
            nodes.features,
            nodes.graph,
            nodes.labels,
            labelled,
            settings,
            unit=options.unit,
        )
        said = _described(model, nodes, labelled)
    write_weights(
        lesson.out, KIND, weights_of(model, options.backbone, options.hidden, lesson.command)
    )
    edges = nodes.graph.ends.shape[1] // 2
    return [
        f"{nodes.graph.nodes} nodes, {edges} edges, {classes} classes; learned from "
        f"{int(labelled.sum())} labels",
        f"{trained.steps} steps in {trained.seconds:.1f} s, ended by {trained.stopped}; the "
        f"weights are those of step {trained.kept}",
        said,
        f"wrote {lesson.out}",
    ]


def _described(model: GraphModel, nodes: Nodes, labelled: torch.Tensor) -> str:
    """How many held-out nodes are right, and what lies in the band."""
    held = ~labelled & (nodes.labels >= 0)
    judged = model.judge(nodes.features, nodes.graph)
    limit = float(model.fitted.limits[3])
    if not bool(held.any()):
        return f"no node is held out; the band ends at {limit:.3f}"
    right = judged.logits.argmax(1) == nodes.labels
    share = float(right[held].double().mean())
    sure = held & judged.inside
    inside = float(right[sure].double().mean()) if bool(sure.any()) else float("nan")
    return (
        f"{share:.1%} of {int(held.sum())} held-out nodes are right, {inside:.1%} of those it "
        f"stands by; the band ends at {limit:.3f}"
    )
