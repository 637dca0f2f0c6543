"""Kill a small training at random moments, go on, and hold what comes out against a training that nobody killed.

By hand: `python tests/soak/kills.py 50`. Moments are drawn over the whole life of a process: start-up, both
stages, the writing of checkpoints, evaluation. Exits with 1 and says what differs, or with 0 and says what was done.
"""

import random
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

TRAIN = (
    "train --data synthetic-bird --scale tiny --seed 3 --device cpu --quiet --set optim.steps=60 "
    "--set segmenter.steps=24 --set data.train_limit=200 --set data.test_limit=40"
)
WEIGHTS = ("generator.safetensors", "segmenter.safetensors")


def start(results: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "ganseg.cli", *shlex.split(TRAIN), "--results", str(results)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(results: Path) -> Path:
    """Train to the end; the run's folder."""
    process = start(results)
    said, _ = process.communicate()
    if process.returncode:
        sys.exit(f"a training ended with {process.returncode}:\n{said}")
    return Path(said.split()[-1])


def killed(results: Path, kills: int, life: float, moments: random.Random, whole: Path) -> list[str]:
    """Start and kill within `life` seconds, `kills` times; a training that ends before is compared and begun anew."""
    done = 0
    while done < kills:
        process = start(results)
        try:
            said, _ = process.communicate(timeout=moments.uniform(0, life))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            done += 1
            continue
        if process.returncode or (found := differences(whole, Path(said.split()[-1]))):
            return found if process.returncode == 0 else [said]
        shutil.rmtree(results)
    return differences(whole, finish(results))


def differences(one: Path, other: Path) -> list[str]:
    """What the folders of two runs do not have in common, times left aside."""
    found = [f"{name} differs" for name in WEIGHTS if (one / name).read_bytes() != (other / name).read_bytes()]
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
