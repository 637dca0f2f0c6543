"""Pickled pandas frames: those of old and new pandas read alike, and no pickle gets to run anything."""

import os
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT

from ganseg.data.taichi import read_frame, read_table
from ganseg.files import UserError

# By pandas 0.25.3 to 2.2.3: file_name "a.png", "b.png"; value [[1, 2], [-1, -1]], [[3, 4], [250, 6]].
WRITTEN = sorted((ROOT / "tests" / "golden" / "frames").glob("pandas-*.pkl"))


def frame() -> pd.DataFrame:
    return pd.DataFrame({
        "value": [np.arange(36).reshape(18, 2), -np.ones((18, 2), int), np.asfortranarray(np.eye(18)[:, :2])],
        "file_name": ["a.png", "b.png", "ö.PNG"],
        "frame_number": [3, 4, 5],
        "share": [0.5, 1.0, np.nan],
        "nested": [[1, 2], [], [np.int64(3)]],
    })  # fmt: skip


def read_back(path, stream: bytes):
    path = path / "f.pkl"
    path.write_bytes(stream)
    return read_frame(path)


def test_frames_of_older_pandas_are_read():
    assert len(WRITTEN) == 4
    for path in WRITTEN:
        assert b"numpy.core" in path.read_bytes() or "2.2.3" in path.name  # a module that is no longer called so
        names, values = read_frame(path)
        assert names == ["a.png", "b.png"]
        np.testing.assert_array_equal(values, [[[1, 2], [-1, -1]], [[3, 4], [250, 6]]])


CHOSEN = frame().iloc[[2, 0]][["share", "value", "file_name"]]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("table", [frame(), CHOSEN, frame().astype({"file_name": object})])
def test_frames_of_the_installed_pandas_are_read_however_they_are_cut(table, protocol, tmp_path):
    names, values = read_back(tmp_path, pickle.dumps(table, protocol))
    assert names == list(table["file_name"])
    np.testing.assert_array_equal(np.stack(values), np.stack(table["value"]))


class Attack:
    """Pickles as a call that would make a file, as malicious files do."""

    def __reduce__(self):
        return os.system, ("touch marker",)


def text(value: str) -> bytes:
    return b"X" + len(value).to_bytes(4, "little") + value.encode()


@pytest.mark.parametrize("protocol", range(6))
def test_code_within_a_frame_is_not_run(protocol, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = frame().astype({"nested": object})
    table.at[1, "nested"] = Attack()
    assert read_back(tmp_path, pickle.dumps(table, protocol))[0] == list(table["file_name"])
    assert not Path("marker").exists()
    pickle.loads(pickle.dumps(table, protocol))
    assert Path("marker").exists()


OUTSIDE = b"\x80\x02" + text("a") + b"Q."
CHANGES_THE_STAND_IN = b"\x80\x02" + b"cpandas\nDataFrame\n" + b"}" + text("args") + text("x") + b"sb."
OLD_CALL = b"(" + text("touch marker") + b"ios\nsystem\n."
CUT = pickle.dumps(frame())[:-1]
OBJECTS = pd.DataFrame({"file_name": ["a.png"], "value": [np.array([[1, "x"]], object)]})
NO_FRAMES = [{"file_name": ["a.png"]}, None, Attack(), np.ones(3), OBJECTS[["file_name"]], frame()[["value"]], OBJECTS]


@pytest.mark.parametrize("stream", [OUTSIDE, CHANGES_THE_STAND_IN, OLD_CALL, b"", CUT, *map(pickle.dumps, NO_FRAMES)])
def test_what_is_no_frame_of_names_and_numbers_is_refused_and_not_run(stream, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "f.pkl"
    path.write_bytes(stream)
    with pytest.raises(UserError, match="f.pkl is missing or cannot be read (.|\n)*It must hold file_name and value"):
        read_table(path)
    assert not Path("marker").exists()


def test_damaged_bytes_never_end_in_anything_but_a_clear_error(tmp_path):
    whole = np.frombuffer(pickle.dumps(frame(), 4), np.uint8)
    random, path, failed = np.random.default_rng(0), tmp_path / "f.pkl", 0
    for _ in range(400):
        damaged = whole.copy()
        damaged[random.integers(len(whole), size=3)] = random.integers(256, size=3)
        path.write_bytes(damaged.tobytes())
        try:
            read_table(path)
        except UserError:
            failed += 1
    assert failed > 100
