"""`ganseg` as a user types it, and what two of its trainings have in common."""

import re
import runpy
import shlex
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, WARM
from typer.testing import CliRunner

from ganseg.cli import app

SETTINGS = {  # of a training that takes seconds
    "data.size": 16, "data.train_limit": 48, "data.test_limit": 24, "generator.block_sizes": "8,16",
    "generator.block_widths": "16,8", "generator.noise_dim": 8, "generator.embedding_dim": 8,
    "generator.spade_hidden": 8, "discriminator.widths": "8,8", "discriminator.hidden": 8, "optim.steps": 3,
    "optim.batch_size": 4, "segmenter.steps": 2, "segmenter.batch_size": 4,
}  # fmt: skip


def ganseg(*words: str | Path | int, **options: Any) -> Any:
    """What a command did; the first word may be several, as they are typed."""
    first, *more = words
    return CliRunner().invoke(app, [*shlex.split(str(first)), *map(str, more)], terminal_width=120, **options)


def done(*words: str | Path | int, **options: Any) -> Any:
    """What a command did that must succeed."""
    result = ganseg(*words, **options)
    assert result.exit_code == 0, result.output
    return result


def mistaken(*words: str | Path | int, **options: Any) -> str:
    """What is said to a mistake: on stderr, with exit code 2 and without a traceback."""
    result = ganseg(*words, **options)
    assert result.exit_code == 2 and "Traceback" not in result.output, result.output
    return plain(result.stderr)


def start(words: str, results: Path) -> subprocess.Popen:
    """`ganseg` with these words in a process of its own."""
    return subprocess.Popen([*WARM, "ganseg.cli", *words.split(), "--results", str(results)], cwd=ROOT)


def differences(one: Path, other: Path) -> list[str]:
    """What the folders of two runs do not have in common, times left aside."""
    weights = ("generator.safetensors", "segmenter.safetensors")
    found = [f"{name} differs" for name in weights if (one / name).read_bytes() != (other / name).read_bytes()]
    drawn = [dict(np.load(run / "training.npz")) for run in (one, other)]
    found += [f"{name} of training.npz differ" for name in drawn[0] if not np.array_equal(*(d[name] for d in drawn))]
    histories = [pd.read_csv(run / "history.csv").drop(columns="seconds") for run in (one, other)]
    found += [] if histories[0].equals(histories[1]) else ["history.csv differs"]
    names = [sorted(path.name for path in run.iterdir()) for run in (one, other)]
    return found + ([] if names[0] == names[1] else [f"files: {names[0]} and {names[1]}"])


def book(*words: str | Path) -> int | str | None:
    """How `python -m book` with these words ends, in this process: 0, or what is said to a mistake."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as end:
        patch.setattr("sys.argv", ["book", *map(str, words)])
        runpy.run_module("book", run_name="__main__")
    return end.value.code


def plain(text: str) -> str:
    """Without colours and frames, in one line."""
    return " ".join(re.sub(r"\x1b\[[0-9;]*m|[│╭╮╰╯─]", " ", text).split())
