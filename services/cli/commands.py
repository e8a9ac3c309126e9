"""The command `basin`. Whatever is heavy is imported inside the command that needs it."""

import gc
import sys
from pathlib import Path
from typing import Annotated

import typer

from services.cli.loading import loading

app = typer.Typer(
    name="basin",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Files = Annotated[
    list[str],
    typer.Argument(help="Queries or instances; - is standard input.", metavar="FILE..."),
]
Format = Annotated[
    str | None,
    typer.Option(
        help="Format of the files; otherwise told by name or content: query, sudoku, "
        "visual-sudoku, kenken, cnf, wcsp, col, edges, graphml, table, text, cipher, crossword."
    ),
]
Given = Annotated[
    str | None,
    typer.Option(
        help="JSON: evidence of a query, or the values a format leaves open.", metavar="JSON"
    ),
]
Modules = Annotated[
    list[str] | None,
    typer.Option(
        "--module",
        help="A kind of your own, called as its file; may be repeated.",
        metavar="FILE.py",
    ),
]
Device = Annotated[str, typer.Option(help="Where to compute.")]
Server = Annotated[
    str | None, typer.Option(help="Ask this reasoner instead of this process.", metavar="HOST:PORT")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object an instance, nothing else.")]
Reflection = Annotated[
    bool | None,
    typer.Option("--reflection/--no-reflection", help="Let gRPC tools list the services, or not."),
]
Insecure = Annotated[
    bool | None,
    typer.Option(
        "--insecure-listen/--no-insecure-listen",
        help="Allow an address open to other machines, or not.",
    ),
]
SettingPairs = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Any limit or knob, such as limits.rows=1000; may be repeated: docs/settings.md.",
        metavar="NAME=VALUE",
    ),
]
Config = Annotated[
    Path | None,
    typer.Option(help="A YAML file of settings; flags and BASIN_ variables count more."),
]

FilesFolder = Annotated[
    str | None,
    typer.Option(
        help="Where files that callers name must lie, arrays and weights; without it they may name "
        "no arrays, and weights here.",
        metavar="DIR",
    ),
]
WeightsFolder = Annotated[
    str | None,
    typer.Option(help="Where weights that callers name must lie instead.", metavar="DIR"),
]
LogLevel = Annotated[
    str | None,
    typer.Option(help="What the log tells at least; info without it.", metavar="debug|info|..."),
]


def _tell_version(wished: bool) -> None:
    if wished:
        from engine import __version__

        print(f"basin {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Say which version this is.", callback=_tell_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Answers questions by settling into the lowest point of an energy landscape."""


@app.command()
def ask(
    files: Files,
    format: Format = None,
    given: Given = None,
    seconds: Annotated[
        float | None,
        typer.Option(
            help="Time limit for each instance, used up unless it is proved; without it, and "
            "without `budget` in the file, none: a search that weighs gives up when it comes no "
            "further, one of rules alone goes on until it has decided."
        ),
    ] = None,
    particles: Annotated[int | None, typer.Option(help="States that search side by side.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of all randomness.")] = None,
    device: Device = "cpu",
    server: Server = None,
    module: Modules = None,
    prove: Annotated[
        bool, typer.Option("--prove", help="Go on until proved least, and unique or not.")
    ] = False,
    alternatives: Annotated[
        int, typer.Option(help="How many next best answers to find.", metavar="K")
    ] = 0,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain", help="Where there is no answer, what conflicts; else the runner-up."
        ),
    ] = False,
    differ: Annotated[
        list[str] | None,
        typer.Option(
            help="A variable in which the runner-up of --explain must differ; may be repeated.",
            metavar="NAME",
        ),
    ] = None,
    distance: Annotated[
        int, typer.Option(help="Sites in which alternatives must differ.", metavar="D")
    ] = 1,
    margins: Annotated[
        bool,
        typer.Option("--margins", help="By how much each site is ahead of its other values."),
    ] = False,
    minimizer: Annotated[
        str | None,
        typer.Option(help="Such as branch_and_bound, annealing, cadical, cp_sat.", metavar="NAME"),
    ] = None,
    proof: Annotated[
        str | None,
        typer.Option(
            help="Where clauses cannot hold: write the proof here, as DRAT.", metavar="FILE"
        ),
    ] = None,
    score: Annotated[
        bool, typer.Option("--score", help="No search: judge the values given.")
    ] = False,
    pictures: Annotated[
        str | None,
        typer.Option(
            help="A folder: write each answer of real numbers (height, width) as a PNG, and of "
            "each pictured board a sheet: picture, reading, solution.",
            metavar="DIR",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Answer queries and instances: the values of least energy, checked."""
    with loading():
        from services.cli.ask import AskArguments
        from services.cli.ask import ask as answered

    wishes = AskArguments(
        files,
        format,
        given,
        seconds,
        particles,
        seed,
        device,
        server,
        prove,
        alternatives,
        explain,
        score,
        json,
        distance,
        differ or (),
        minimizer,
        proof,
        module or (),
        pictures,
        margins,
    )
    raise typer.Exit(answered(wishes))


@app.command()
def score(
    files: Files,
    format: Format = None,
    given: Given = None,
    device: Device = "cpu",
    server: Server = None,
    module: Modules = None,
    json: Json = False,
) -> None:
    """Judge given values, without any search: the same as `ask --score`."""
    with loading():
        from services.cli.ask import AskArguments
        from services.cli.ask import ask as answered

    wishes = AskArguments(
        files,
        format,
        given,
        device=device,
        server=server,
        score=True,
        json=json,
        modules=module or (),
    )
    raise typer.Exit(answered(wishes))


@app.command()
def sample(
    files: Files,
    count: Annotated[int, typer.Option(help="Draws for each instance.", metavar="N")] = 1,
    temperature: Annotated[float, typer.Option(help="In units of the energy.", metavar="T")] = 1.0,
    format: Format = None,
    given: Given = None,
    seconds: Annotated[float | None, typer.Option(help="Time limit for each instance.")] = None,
    particles: Annotated[int | None, typer.Option(help="Chains that run side by side.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of all randomness.")] = None,
    device: Device = "cpu",
    server: Server = None,
    module: Modules = None,
    json: Json = False,
) -> None:
    """Draw values in proportion to exp(-energy / temperature), among those that keep the rules."""
    from services.cli.ask import AskArguments
    from services.cli.sample import sample as drawn

    wishes = AskArguments(
        files,
        format,
        given,
        seconds,
        particles,
        seed,
        device,
        server,
        json=json,
        modules=module or (),
    )
    raise typer.Exit(drawn(wishes, count, temperature))


@app.command()
def session(
    file: Annotated[str, typer.Argument(help="The query it begins with.", metavar="FILE")],
    server: Server = None,
    module: Modules = None,
) -> None:
    """Answer a query that changes: one JSON object a line on stdin, one a line on stdout."""
    from services.cli.session import session as talked

    raise typer.Exit(talked(file, server, module or ()))


@app.command()
def serve(
    listen: Annotated[
        str | None,
        typer.Option(
            help="Where to listen; port 0 takes a free one. Without it 127.0.0.1:7777.",
            metavar="HOST:PORT",
        ),
    ] = None,
    modules: Annotated[
        str | None,
        typer.Option(
            help="Groups of kinds to offer; all without it.", metavar="discrete,graph,..."
        ),
    ] = None,
    remote: Annotated[
        list[str] | None,
        typer.Option(
            help="A kind that another process hosts; twice for replicas.", metavar="KIND=HOST:PORT"
        ),
    ] = None,
    settings: SettingPairs = None,
    config: Config = None,
    reflection: Reflection = None,
    insecure_listen: Insecure = None,
    shared_memory: Annotated[
        bool | None,
        typer.Option(
            "--shared-memory/--no-shared-memory",
            help="Use it where a host on this machine offers it, or not; without it, yes.",
        ),
    ] = None,
    files: FilesFolder = None,
    weights: WeightsFolder = None,
    log_level: LogLevel = None,
) -> None:
    """Serve a reasoner over gRPC until SIGTERM or Ctrl-C."""
    from services.cli.serve import serve as served
    from services.cli.sources import Given

    groups = None
    if modules is not None:
        groups = [name.strip() for name in modules.split(",") if name.strip()]
    flags = (
        Given("--listen", "listen", listen),
        Given("--modules", "modules", groups),
        Given("--reflection", "reflection", reflection),
        Given("--insecure-listen", "insecure_listen", insecure_listen),
        Given("--shared-memory", "remote_policy.shared_memory", shared_memory),
        Given("--files", "files", files),
        Given("--weights", "weights", weights),
        Given("--log-level", "log_level", log_level),
    )
    raise typer.Exit(served(flags, remote or (), settings or (), config))


@app.command()
def host(
    kinds: Annotated[
        list[str], typer.Argument(help="Kinds, or module:Class of terms.", metavar="KIND...")
    ],
    listen: Annotated[
        str | None,
        typer.Option(
            help="Where to listen; port 0, which it is without it, takes a free one.",
            metavar="HOST:PORT",
        ),
    ] = None,
    settings: SettingPairs = None,
    config: Config = None,
    reflection: Reflection = None,
    insecure_listen: Insecure = None,
    shared_memory: Annotated[
        bool | None,
        typer.Option(
            "--shared-memory/--no-shared-memory",
            help="Share memory with reasoners on this machine, or not; without it, not.",
        ),
    ] = None,
    files: FilesFolder = None,
    weights: WeightsFolder = None,
    log_level: LogLevel = None,
) -> None:
    """Host energy terms in a process of their own until SIGTERM or Ctrl-C."""
    from services.cli.serve import host as hosted
    from services.cli.sources import Given

    flags = (
        Given("--listen", "listen", listen),
        Given("--reflection", "reflection", reflection),
        Given("--insecure-listen", "insecure_listen", insecure_listen),
        Given("--shared-memory", "shared_memory", shared_memory),
        Given("--files", "files", files),
        Given("--weights", "weights", weights),
        Given("--log-level", "log_level", log_level),
    )
    raise typer.Exit(hosted(kinds, flags, settings or (), config))


@app.command()
def kinds(
    kind: Annotated[
        str | None,
        typer.Argument(
            help="One of them, such as discrete.table: its energy and its parameters too.",
            metavar="KIND",
        ),
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(
            help="The kinds of this reasoner instead of this process.", metavar="HOST:PORT"
        ),
    ] = None,
    module: Modules = None,
    json: Annotated[
        bool,
        typer.Option("--json", help="A JSON list with all that is known of each, and no more."),
    ] = False,
) -> None:
    """List the kinds of terms and what each is about; of one kind, what it asks for."""
    from services.cli.kinds import kinds as listed

    raise typer.Exit(listed(kind, json, server, module or ()))


@app.command()
def new(
    kind: Annotated[str, typer.Argument(help="Its name, such as my_term.")],
) -> None:
    """Write a new kind of term and its test into this folder."""
    from services.cli.new import new as written

    raise typer.Exit(written(kind))


@app.command()
def check(
    kind: Annotated[str, typer.Argument(help="A kind, or a file.", metavar="KIND|FILE.py")],
) -> None:
    """Hold a kind against the laws every term must keep."""
    from services.cli.check import check as checked

    raise typer.Exit(checked(kind))


@app.command()
def train(
    kind: Annotated[str, typer.Argument(help="A kind that learns, such as discrete.tabular.")],
    data: Annotated[
        str,
        typer.Option(
            help="Examples: a text (.gz, .bz2 and .xz too), .csv, .npy, .npz, .mat, IDX, a "
            "folder or a zip of .png; or `digits`, those of scikit-learn.",
            metavar="FILE",
        ),
    ],
    out: Annotated[str, typer.Option(help="Where the weights go.", metavar="W.safetensors")],
    seconds: Annotated[float | None, typer.Option(help="Time limit.")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps; without it, the kind's own.")] = None,
    seed: Annotated[int, typer.Option(help="Of all randomness.")] = 0,
    work: Annotated[
        str | None,
        typer.Option(help="Checkpoints and logs; the same again goes on.", metavar="DIR"),
    ] = None,
    params: Annotated[
        str | None, typer.Option(help="JSON: what the kind asks beside.", metavar="JSON")
    ] = None,
    module: Modules = None,
) -> None:
    """Let a kind learn from examples, and write its weights."""
    from services.cli.train import train as trained

    raise typer.Exit(trained(kind, data, out, seconds, steps, seed, work, params, module or ()))


@app.command()
def bench(
    name: Annotated[
        str | None,
        typer.Argument(
            help="A benchmark, such as sudoku; without it, which there are.", metavar="NAME"
        ),
    ] = None,
    docs: Annotated[
        bool, typer.Option("--docs", help="Write docs/benchmarks.md from all figures.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of everything that is drawn.")] = 0,
    section: Annotated[
        list[str] | None,
        typer.Option(help="Only this part, of a benchmark that has parts; may be repeated."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="The figures as one JSON object.")] = False,
) -> None:
    """Run a benchmark, and write its figures to benchmarks/results/NAME.json."""
    from services.cli.bench import bench as measured

    raise typer.Exit(measured(name, json, docs, seed, section or ()))


def main() -> None:
    """The entry point. A file that a command reads may lie in the current folder."""
    sys.path.append("")  # last: `basin host my_terms:MyTerm` finds what lies here
    gc.set_threshold(100_000, 20, 50)  # large batches are many small lists, none of them garbage
    try:
        app()
    finally:
        gc.freeze()  # the process ends: what is still held is not taken apart, which takes as long
        # as loading it


if __name__ == "__main__":
    main()
