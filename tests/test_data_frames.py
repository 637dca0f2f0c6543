"""Pickled pandas frames: those of old and new pandas read alike, and no pickle gets to run anything."""

import os
import pickle

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


class Calls:
    """Pickles as a call, as malicious files do."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def global_(module: str, name: str) -> bytes:
    """A name in protocol 2, whether it exists or not."""
    return f"c{module}\n{name}\n".encode()


def text(value: str) -> bytes:
    return b"X" + len(value).to_bytes(4, "little") + value.encode()


def attacks(marker) -> dict[str, bytes]:
    """Streams that would create the file `marker`, by the name that must be refused."""
    python = f"open({str(marker)!r}, 'w')"

    def call(module: str, name: str, argument: str) -> bytes:
        return b"\x80\x02" + global_(module, name) + text(argument) + b"\x85R."

    hidden = frame().astype({"nested": object})
    hidden.at[1, "nested"] = Calls(os.system, f"touch {marker}")
    inside = np.empty(2, object)
    inside[1] = Calls(eval, python)
    attribute = global_("builtins", "getattr") + global_("pandas", "DataFrame") + text("eval") + b"\x86R"
    dotted = b"\x80\x04" + text("pandas") + text("DataFrame.eval") + b"\x93."
    subclasses = b"\x80\x04" + text("numpy") + text("ndarray.__class__") + b"\x93."
    return {
        "posix.system": pickle.dumps(Calls(os.system, f"touch {marker}"), 4),
        "system": pickle.dumps(hidden, 5),
        "eval": pickle.dumps(pd.DataFrame({"value": inside}), 2),
        "__builtin__.exec": call("__builtin__", "exec", python),
        "codecs.encode": call("codecs", "encode", "x"),  # which frames need from another module
        "numpy.load": call("numpy", "load", str(marker)),
        "pandas.read_pickle": call("pandas", "read_pickle", str(marker)),
        "builtins.getattr": b"\x80\x02" + attribute + text(python) + b"\x85R.",
        "pandas.DataFrame.eval": dotted,
        "numpy.ndarray.__class__": subclasses,
        "importlib.import_module": b"\x80\x02" + text("os") + b"(i" + b"importlib\nimport_module\n.",
    }


@pytest.mark.parametrize("name", list(attacks("x")))
def test_a_malicious_pickle_is_refused_by_name_and_not_run(name, tmp_path):
    with pytest.raises(pickle.UnpicklingError, match=rf"asks for \S*{name}, which no table .* convert it"):
        read_back(tmp_path, attacks(tmp_path / "marker")[name])
    assert not (tmp_path / "marker").exists()


def test_the_attacks_are_real(tmp_path):
    """Without the restricted reader they do what they say."""
    pickle.loads(attacks(tmp_path / "marker")["system"])
    assert (tmp_path / "marker").exists()


OUTSIDE = b"\x80\x02" + text("a") + b"Q."
CHANGES_THE_STAND_IN = b"\x80\x02" + global_("pandas", "DataFrame") + b"}" + text("args") + text("x") + b"sb."
CUT = pickle.dumps(frame())[:-1]
OBJECTS = pd.DataFrame({"file_name": ["a.png"], "value": [np.array([[1, "x"]], object)]})
NO_FRAMES = [{"file_name": ["a.png"]}, None, np.ones(3), OBJECTS[["file_name"]], frame()[["value"]], OBJECTS]


@pytest.mark.parametrize("stream", [OUTSIDE, CHANGES_THE_STAND_IN, b"", CUT, *map(pickle.dumps, NO_FRAMES)])
def test_what_is_no_frame_of_names_and_numbers_is_refused(stream, tmp_path):
    path = tmp_path / "f.pkl"
    path.write_bytes(stream)
    with pytest.raises(UserError, match="f.pkl is missing or cannot be read (.|\n)*It must hold file_name and value"):
        read_table(path)


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
