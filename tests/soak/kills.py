"""Kill a small training at random moments, go on, and hold what comes out against a training that nobody killed.

By hand: `python -m book warm python tests/soak/kills.py 50`. Moments are drawn over the whole life of a process:
start-up, both stages, the writing of checkpoints, evaluation. Exits with 1 and says what differs, or with 0 and says
what was done.
"""

import random
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd

TRAIN = (
    "train --data synthetic-bird --scale tiny --seed 3 --device cpu --quiet --set optim.steps=60 "
    "--set segmenter.steps=24 --set data.train_limit=200 --set data.test_limit=40"
)
ROOT = Path(__file__).resolve().parents[2]
WARM = [sys.executable, str(ROOT / "book" / "warm.py")]  # `python -m`, with its packages imported below `make test`
WEIGHTS = ("generator.safetensors", "segmenter.safetensors")


def start(words: str, results: Path) -> subprocess.Popen:
    """`ganseg` with these words in a process of its own."""
    return subprocess.Popen([*WARM, "ganseg.cli", *words.split(), "--results", str(results)], cwd=ROOT)


def finish(results: Path) -> Path:
    """Train to the end; the run's folder."""
    if status := start(TRAIN, results).wait():
        sys.exit(f"a training ended with {status}")
    return run_in(results)


def run_in(results: Path) -> Path:
    """The folder of the one finished run."""
    (metrics,) = results.glob("*/runs/*/metrics.json")
    return metrics.parent


def killed(results: Path, kills: int, life: float, moments: random.Random, whole: Path) -> list[str]:
    """Start and kill within `life` seconds, `kills` times; a training that ends before is compared and begun anew."""
    done = 0
    while done < kills:
        process = start(TRAIN, results)
        with suppress(subprocess.TimeoutExpired):
            process.wait(moments.uniform(0, life))
        if process.returncode is None:
            process.kill()
            process.wait()
            done += 1
        elif process.returncode or (found := differences(whole, run_in(results))):
            return [f"a training ended with {process.returncode}"] if process.returncode else found
        else:
            shutil.rmtree(results)
    return differences(whole, finish(results))


def differences(one: Path, other: Path) -> list[str]:
    """What the folders of two runs do not have in common, times left aside."""
    found = [f"{name} differs" for name in WEIGHTS if (one / name).read_bytes() != (other / name).read_bytes()]
    drawn = [dict(np.load(run / "training.npz")) for run in (one, other)]
    found += [f"{name} of training.npz differ" for name in drawn[0] if not np.array_equal(*(d[name] for d in drawn))]
    histories = [pd.read_csv(run / "history.csv").drop(columns="seconds") for run in (one, other)]
    found += [] if histories[0].equals(histories[1]) else ["history.csv differs"]
    names = [sorted(path.name for path in run.iterdir()) for run in (one, other)]
    return found + ([] if names[0] == names[1] else [f"files: {names[0]} and {names[1]}"])


def main() -> None:
    kills = int(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        whole = finish(Path(folder) / "whole")
        life = time.monotonic() - began
        found = killed(Path(folder) / "killed", kills, life, random.Random(0), whole)
    if found:
        sys.exit("\n".join(found))
    print(f"{kills} kills, each within {life:.0f} s of a start: every file is equal")


if __name__ == "__main__":
    main()
