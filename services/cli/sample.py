"""`basin sample`: draws from the Boltzmann distribution of each instance, in input order."""

import sys
from typing import Any

from rich.console import Console
from rich.text import Text

from engine.errors import BadQuery, Mistake
from engine.sampling.samples import Samples
from modules.catalogue import Catalogue
from services.cli import output
from services.cli.ask import AskArguments, Solver, Solvers, reasoner_of, run, settings_of
from services.cli.console import REFUSED, tell
from services.formats import Asked
from services.query import Options, Query
from services.query.sampling import Sampling, sampling_of
from services.reasoner.faults import faults_told
from services.reasoner.reason import StopSignal, Watch
from services.reasoner.sample import sample_query


def sample(wishes: AskArguments, count: int, temperature: float) -> int:
    """Draw for every instance, and return the exit code."""
    mistakes: list[Mistake] = []
    wanted: Sampling | None = None
    settings = None
    try:
        wanted = sampling_of({"count": count, "temperature": temperature})
    except BadQuery as error:
        mistakes += [Mistake(f"--{m.path}", m.problem, m.remedy) for m in error.mistakes]
    try:
        settings = settings_of(wishes)
    except BadQuery as error:
        mistakes += error.mistakes
    if wanted is None or settings is None:
        tell("", BadQuery(*mistakes))
        return REFUSED
    return run(
        wishes,
        settings,
        Solvers(_solver(wishes, wanted, settings.kinds)),
        _Writer(wishes.json, wanted),
    )


def _solver(wishes: AskArguments, wanted: Sampling, kinds: Catalogue | None) -> Solver:
    if kinds is not None:
        reasoner = reasoner_of(wishes.files, kinds)

        @faults_told()
        def here(query: Query, options: Options, watch: Watch, stop: StopSignal) -> list[Samples]:
            del options, watch
            problem = reasoner.compiler.problem(query)
            return sample_query(problem, query.budget, wanted, reasoner.limits, stop)

        return here
    from services.client import Client  # gRPC is loaded only where a service is asked

    assert wishes.server is not None
    client = Client(wishes.server)
    return lambda query, *_: client.sample(query, wanted.count, wanted.temperature)


class _Writer:
    """One JSON object an instance, or lines for people."""

    def __init__(self, json: bool, wanted: Sampling):
        self.json, self.wanted, self.console = json, wanted, Console()

    def write(self, asked: Asked, row: int, samples: Samples) -> None:
        if self.json:
            sys.stdout.write(output.encode_json(_record(asked, row, samples, self.wanted)) + "\n")
        else:
            self._show(asked, row, samples)

    def _show(self, asked: Asked, row: int, samples: Samples) -> None:
        head = Text(asked.instances[row], "bold")
        head.append(f"  {samples.status.value}{''.join(f' {f.value}' for f in samples.flags)}")
        head.append(f"  {samples.method}, {'exact' if samples.exact else 'approximate'}", "dim")
        if samples.log_partition is not None:
            head.append(f", ln Z = {samples.log_partition:.12g}", "dim")
        self.console.print(head, highlight=False, soft_wrap=True)
        for k, one in enumerate(samples.samples, 1):
            broken = "" if one.holds is not False else ", breaks a rule"
            energy = "infinite" if one.energy is None else f"{one.energy:.12g}"
            self.console.print(Text(f"  {k}: energy {energy}{broken}", "red" if broken else "dim"))
            drawn = output.indent_lines(output.picture_of(asked, row, one.values))
            self.console.print(drawn, highlight=False, soft_wrap=True)
        for told in samples.mixing:
            hat = "chains apart" if told.r_hat is None else f"R-hat {told.r_hat:.3f}"
            said = f"  {told.variable}: {hat}, worth {told.effective:.0f} independent draws"
            poor = "; not mixed: give more --seconds or --particles" if not told.mixed else ""
            self.console.print(Text(said + poor, "dim" if told.mixed else "yellow"))


def _record(asked: Asked, row: int, samples: Samples, wanted: Sampling) -> dict[str, Any]:
    return {
        "instance": asked.instances[row],
        "status": samples.status.value,
        "flags": [flag.value for flag in samples.flags],
        "temperature": wanted.temperature,
        "exact": samples.exact,
        "method": samples.method,
        "mixed": samples.mixed,
        "log_partition": samples.log_partition,
        "samples": [
            {"solution": asked.written(row, s.values), "energy": s.energy, "holds": s.holds}
            for s in samples.samples
        ],
        "mixing": [
            {"variable": m.variable, "r_hat": m.r_hat, "effective": m.effective}
            for m in samples.mixing
        ],
        "seconds": samples.seconds,
        "steps": samples.steps,
    }
