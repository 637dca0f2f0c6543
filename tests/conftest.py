"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of golden tensors and real photographs; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("GANSEG_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no golden tensors or photographs at {folder}")
    return folder
