"""What must not change unnoticed: what is drawn, and the commands with their options.

`python tests/test_unchanged.py` writes tests/golden/frozen.json again; say in the commit why something changed.
"""

import hashlib
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import GOLDEN
from typer.main import get_command

from ganseg.cli import app
from ganseg.data import load

FROZEN = GOLDEN / "frozen.json"


def images(data: str, size: int) -> dict[str, Any]:
    """Digests of what is drawn; of the colours, which processors round differently, the mean of some images."""
    split = load(data, "test", size, limit=64)
    arrays = {name: getattr(split, name) for name in ("foreground", "parts", "keypoints", "visible")}
    found = {name: hashlib.sha256(np.ascontiguousarray(a).tobytes()).hexdigest()[:16] for name, a in arrays.items()}
    return found | {"colours": split.images[:16].mean(axis=(1, 2)).ravel().round(2).tolist()}  # (16 x 3)


def commands(group: Any = None, prefix: str = "") -> dict[str, list[str]]:
    """Every command, of all or of a `group`, with its options and arguments."""
    found = {}
    for name, command in (group or get_command(app)).commands.items():
        if hasattr(command, "commands"):
            found |= commands(command, f"{prefix}{name} ")
        else:
            found[f"{prefix}{name}"] = sorted(max(p.opts, key=len) for p in command.params)
    return found


CASES: dict[str, Callable[[], Any]] = {
    f"images {data} {size}": lambda data=data, size=size: images(data, size)
    for data in ("synthetic-bird", "synthetic-camouflage", "synthetic-turned", "synthetic-face")
    for size in (32, 48, 128)
} | {"commands": commands}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.usefixtures("cache")  # it is drawn, not remembered
def test_it_is_what_it_was(case: str) -> None:
    found, frozen = CASES[case](), json.loads(FROZEN.read_text())[case]
    assert found.pop("colours", []) == pytest.approx(frozen.pop("colours", []), abs=0.03)  # of 255
    assert found == frozen


if __name__ == "__main__":
    lines = [f"{json.dumps(name)}: {json.dumps(case(), sort_keys=True)}" for name, case in CASES.items()]
    FROZEN.write_text("{\n" + ",\n".join(lines) + "\n}\n")
