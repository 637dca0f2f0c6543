"""Pickled pandas frames of landmarks, read without running them.

A pickle is a program: loading one calls whatever functions it names. Here the names that a frame needs become inert
records of what they would have been called with, and any other name is refused. File names and points are then taken
from the records of arrays, wherever a version of pandas puts them. Neither pandas' nor NumPy's unpickling takes part:
they trust the file, and three wrong bytes in it end the process.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from ganseg.data.files import SUFFIXES

MODULES = "pandas numpy builtins __builtin__ copyreg copy_reg _codecs".split()
NEEDED = (
    "DataFrame BlockManager _unpickle_block __pyx_unpickle_NDArrayBacked StringArray StringArrayNumpySemantics "
    "StringDtype _new_Index Index RangeIndex Int64Index UInt64Index Float64Index ndarray _reconstruct _frombuffer "
    "dtype scalar slice object _reconstructor encode"
).split()


class Record:
    """A call that the pickle asked for, and the state it wanted to set. Nothing is called."""

    def __new__(cls, *args: Any) -> Record:
        record = super().__new__(cls)
        record.args, record.state = args, None
        return record

    def __setstate__(self, state: Any) -> None:
        self.state = state
        self.complete.append(self)


class FrameUnpickler(pickle.Unpickler):
    """Reads plain values as such and every needed name as a `Record`; `complete`: those that have their state."""

    complete: list[Record]

    def find_class(self, module: str, name: str) -> type[Record]:
        """The stand-in for a name; UnpicklingError for one that no frame needs."""
        if module.split(".")[0] in MODULES and name in NEEDED:
            return type(name, (Record,), {"complete": self.complete})
        raise pickle.UnpicklingError(
            f"it asks for {module}.{name}, which no table of landmarks needs. Trust no such file; if you do trust it, "
            "convert it where it was made: "
            "numpy.savez('NAME.npz', file_name=list(frame.file_name), value=numpy.stack(frame.value))."
        )


def read_frame(path: str | Path) -> tuple[list[str], list[np.ndarray]]:
    """Names of image files and the array of numbers of each, from the frame pickled in `path`. No code in it is run.

    An exception of any type where the file is damaged, names anything that a frame does not need, or does not hold
    one array a name.
    """
    with Path(path).open("rb") as file:
        reader = FrameUnpickler(file, encoding="latin1")
        reader.complete = []
        reader.load()
    states = [record.state[-1] for record in reader.complete if type(record).__name__ == "_reconstruct"]
    cells = [cell for state in states if isinstance(state, list) for cell in state]  # of arrays of objects
    names = [cell for cell in cells if isinstance(cell, str) and cell.lower().endswith(SUFFIXES)]
    arrays = [cell for cell in cells if type(cell).__name__ in ("_reconstruct", "_frombuffer")]
    if not names or len(names) != len(arrays):
        raise ValueError(f"it holds {len(names)} names of images and {len(arrays)} arrays")
    return names, [_numbers(array) for array in arrays]


def _numbers(array: Record) -> np.ndarray:
    """The array that a record stands for; ValueError where it is one of objects."""
    if type(array).__name__ == "_frombuffer":  # protocol 5
        content, dtype, shape, order = array.args[:4]
    else:
        shape, dtype, fortran, content = array.state[-4:]
        order = "F" if fortran else "C"
    if type(content).__name__ == "encode":  # protocols 0 to 2 write bytes as Latin-1 text
        content = content.args[0].encode("latin1")
    return np.frombuffer(content, dtype.state[1] + dtype.args[0]).reshape(shape, order=order)
