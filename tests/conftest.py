"""Fixtures shared by all tests."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

ROOT = Path(__file__).resolve().parent.parent
WARM = [sys.executable, str(ROOT / "book" / "warm.py"), "-m"]
GOLDEN = ROOT / "tests" / "golden"  # tensors that the released code made
# Files that take longest, longest first: workers get a file at a time, and the last ones should be short.
LONG = "book golden_full cli make experiments models live released claims studies numbers_reach_the_page".split()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ranks = {f"test_{name}": rank for rank, name in enumerate(LONG)}
    items.sort(key=lambda item: ranks.get(item.path.stem, len(LONG)))


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of golden tensors and real photographs; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("GANSEG_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no golden tensors or photographs at {folder}")
    return folder


@pytest.fixture(scope="session")
def golden_metrics() -> dict[str, np.ndarray]:
    """Inputs of metrics and what the released code makes of them."""
    return load_file(GOLDEN / "metrics.safetensors")


def tracked(pattern: str) -> list[Path]:
    """Files of this checkout that git knows: what is published, not what this copy trained by itself."""
    found = subprocess.run(["git", "ls-files", pattern], cwd=ROOT, capture_output=True, text=True)
    return [ROOT / name for name in found.stdout.splitlines()]


@pytest.fixture(scope="session")
def committed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The committed results alone."""
    folder = tmp_path_factory.mktemp("committed")
    for path in tracked("results") or pytest.skip("this is no checkout"):
        link = folder / path.relative_to(ROOT)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)
    return folder / "results"


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A browser."""
    from browser import Page

    page = Page(tmp_path_factory.mktemp("profile"))
    yield page
    page.close()


@pytest.fixture(scope="session")
def fabric() -> Any:
    """A CPU in float32."""
    from ganseg.devices import make_fabric

    return make_fabric("cpu", precision="32-true")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of decoded images of its own."""
    monkeypatch.setenv("GANSEG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def centre_of_block(image: np.ndarray, channel: int) -> np.ndarray:
    """(x, y), pixel centres at integers: the centroid, which resizing keeps, of a channel's bright block."""
    weight = np.clip(image[..., channel].astype(float) - 60, 0, None)
    ys, xs = np.mgrid[: len(image), : len(image)]
    return np.array([(xs * weight).sum(), (ys * weight).sum()]) / weight.sum()
