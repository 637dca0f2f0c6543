# The graph behind `make`: experiments -> executed notebooks -> the book. Only what is stale runs.
#   snakemake book --cores 2 --config scale=gpu data=flowers data_dir=DIR
# A notebook's metadata says which experiments it reads (book.execute.experiments_of): variants, K, settings of their
# own. Those that several notebooks share are trained once, and none that is published. `make experiments` also trains
# what the claims ledger asks for above scale tiny (ganseg.ledger.planned), five seeds each: many hours, which no page
# waits for.

import os
import shlex
import sys
import time
from pathlib import Path

from snakemake.exceptions import WorkflowError

sys.path.insert(0, workflow.basedir)

from book.execute import experiments_of, parameters_of, read
from ganseg.experiments import Experiment
from ganseg.files import UserError, place
from ganseg.ledger import planned

# A pipe takes what jobs say: to a terminal they would draw bars, over those of jobs beside them.
# Rules run in this environment.
shell.prefix(f"set -o pipefail; export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH; ")
WARM = "python book/warm.py -m"  # `python -m`, less what imports take where `python -m book warm` serves
START = time.time()


def given(name, default=""):
    """A setting: --config NAME=VALUE, else what `make` hands on in the environment, as it was typed."""
    return str(config.get(name) or os.environ.get(f"GANSEG_{name.upper()}") or default)


SCALE, DATA, DATA_DIR = given("scale", "laptop"), given("data", "synthetic-bird"), given("data_dir")
SEED, RESULTS = given("seed", 0), given("results", "results")
RESULTS = str(place(RESULTS))
RESULTS = "results" if Path(RESULTS).resolve() == Path("results").resolve() else RESULTS

NOTEBOOKS = sorted(path.stem for path in Path("notebooks").glob("*.ipynb"))
PACKAGE = sorted(str(path) for path in Path("ganseg").rglob("*.py"))
COMMANDS = ("cli.py", "cli_data.py", "terminal.py")
READ = [path for path in PACKAGE if Path(path).name not in COMMANDS]  # what a notebook may use
BOOK = sorted(str(path) for path in Path("book").rglob("*") if path.is_file())
EXECUTED = f"{RESULTS}/{SCALE}/notebooks/{{name}}.ipynb"
HTML = "_build/html/index.html"


def parameters(name):
    """What is injected into a notebook: the parameters that it has; paths where they are not the default."""
    given = {"scale": SCALE, "seed": SEED, "data": DATA}
    given |= {"data_dir": str(Path(DATA_DIR).expanduser().resolve())} if DATA_DIR else {}
    given |= {"results_dir": str(Path(RESULTS).resolve())} if RESULTS != "results" else {}
    known = parameters_of(read(f"notebooks/{name}.ipynb"))
    return {key: value for key, value in given.items() if key in known}


def experiments(name):
    """Every experiment that a notebook reads."""
    return [Experiment(**row) for row in experiments_of(f"notebooks/{name}.ipynb", **parameters(name))]


def metrics_of(experiment):
    """The metrics.json of the finished run that a notebook reads, such as a published one, or of the one to train."""
    finished = experiment.finished(RESULTS)
    return str((finished.directory if finished else experiment.directory(RESULTS)) / "metrics.json")


try:
    READ_BY_PAGES = {metrics_of(experiment): experiment for name in NOTEBOOKS for experiment in experiments(name)}
    EXPERIMENTS = {metrics_of(experiment): experiment for experiment in planned(SCALE, DATA, DATA_DIR)} | READ_BY_PAGES
except UserError as error:
    raise WorkflowError(str(error)) from None

# As many experiments at once as there are, on an equal share of the cores (two threads are 1.4 times as fast as one on an
# idle machine, two experiments of one thread do more together); threads=N says otherwise.
PENDING = sum(not Path(path).exists() for path in EXPERIMENTS)
THREADS = int(given("threads", 0)) or max(1, min(8, (workflow.cores or 1) // max(1, PENDING)))


def arguments(wildcards, output):
    """Command line of one experiment. It takes `output`, so that data that moved does not train again."""
    experiment = EXPERIMENTS[str(output[0])]
    names = ("data", "variant", "parts", "seed", "scale", "data_dir")
    values = {name: getattr(experiment, name) for name in names} | {"results": RESULTS}
    words = [f"--{name.replace('_', '-')}={value}" for name, value in values.items() if value is not None]
    words += [f"--set={name}={value}" for name, value in dict(experiment.overrides).items()]
    return " ".join(map(shlex.quote, words))


rule book:
    default_target: True
    input:
        expand(EXECUTED, name=NOTEBOOKS),
        BOOK,
        PACKAGE,
        "_config.yml",
    output:
        HTML,
    params:
        repository=os.environ.get("GANSEG_REPOSITORY", ""),  # another address, other links
    localrule: True
    message:
        "building the book"
    shell:
        "{WARM} book build . --results {RESULTS:q} --scale {SCALE:q}"


rule notebooks:
    input:
        expand(EXECUTED, name=NOTEBOOKS),


rule models:
    input:
        list(READ_BY_PAGES),


rule experiments:
    input:
        list(EXPERIMENTS),


rule notebook:
    input:
        source="notebooks/{name}.ipynb",
        runs=list(READ_BY_PAGES),  # pages read every finished run, so all are there before the first page
        package=READ,
    output:
        EXECUTED,
    params:
        pairs=lambda wildcards: [
            f"-p {shlex.quote(f'{key}={value}')}" for key, value in parameters(wildcards.name).items()
        ],
    message:
        "executing notebooks/{wildcards.name}.ipynb at scale " + SCALE
    shell:
        "OMP_NUM_THREADS={threads} {WARM} book execute {input.source:q} {output:q} {params.pairs} 2>&1 | cat"


use rule notebook as longer_notebook with:
    wildcard_constraints:
        name="04.*|1[12].*|27.*|3[123].*",
    priority: 1  # what takes longest comes first, so that no core waits at the end


ruleorder: longer_notebook > notebook


rule experiment:
    output:
        f"{RESULTS}/{SCALE}/runs/{{run}}/metrics.json",
    params:
        arguments=arguments,
    threads: THREADS
    resources:
        gpu=int(SCALE in ("gpu", "paper")),
    message:
        "training {wildcards.run} at scale " + SCALE
    shell:
        "OMP_NUM_THREADS={threads} {WARM} ganseg.cli train {params.arguments} 2>&1 | cat"


onsuccess:
    # Experiments end before the first notebook begins, and notebooks before the book does.
    Path("_build").mkdir(exist_ok=True)
    before = START
    parts = {"experiments": EXPERIMENTS, "notebooks": expand(EXECUTED, name=NOTEBOOKS), "the book": [HTML]}
    for part, paths in parts.items():
        ends = [os.path.getmtime(path) for path in paths if os.path.exists(path)]
        if ends and max(ends) > before:
            with open("_build/times", "a") as times:
                times.write(f"{part}: {max(ends) - before:.0f} s\n")
            before = max(ends)
