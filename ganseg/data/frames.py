"""Pickled pandas frames, read without running them.

A pickle is a program: loading one calls whatever functions it names. Here each name that a frame of pandas
0.25 or later needs becomes an inert stand-in, which records what it would have been called with, and any
other name is refused. Only then are the arrays built from those records, by this file. Neither pandas' nor
NumPy's unpickling takes part: they would have to trust the file, and know the versions that wrote it.
"""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np

from ganseg.files import UserError

ADMITTED: dict[str, str] = {  # a name's role -> where it lived in the versions of pandas and NumPy
    "frame": "pandas.DataFrame pandas.core.frame.DataFrame",
    "manager": "pandas.core.internals.managers.BlockManager pandas.core.internals.BlockManager",
    "block": "pandas._libs.internals._unpickle_block",
    "strings": "pandas._libs.arrays.__pyx_unpickle_NDArrayBacked",
    "index": "pandas.core.indexes.base._new_Index",
    "array": "numpy.core.multiarray._reconstruct numpy._core.multiarray._reconstruct",
    "buffer": "numpy.core.numeric._frombuffer numpy._core.numeric._frombuffer",
    "scalar": "numpy.core.multiarray.scalar numpy._core.multiarray.scalar",
    "dtype": "numpy.dtype",
    "slice": "builtins.slice __builtin__.slice",
    "bytes": "_codecs.encode",
    "object": "copyreg._reconstructor copy_reg._reconstructor",
    "nothing": "numpy.ndarray builtins.object __builtin__.object pandas.Index pandas.RangeIndex"
    " pandas.core.indexes.base.Index pandas.core.indexes.range.RangeIndex"
    " pandas.core.indexes.numeric.Int64Index pandas.core.indexes.numeric.UInt64Index"
    " pandas.core.indexes.numeric.Float64Index"
    " pandas.StringDtype pandas.core.arrays.string_.StringDtype pandas.arrays.StringArray"
    " pandas.core.arrays.string_.StringArray pandas.core.arrays.string_.StringArrayNumpySemantics",
}
ROLES = {name: role for role, names in ADMITTED.items() for name in names.split()}
CONVERT = "Trust no such file; if you do trust it, save the frame as .csv or .npz where it was made."


class Recorded:
    """A call that the pickle asked for, and the state it wanted to set. Nothing is called."""

    role = ""

    def __new__(cls, *args: Any) -> Recorded:
        record = super().__new__(cls)
        record.args, record.state = args, None
        return record

    def __setstate__(self, state: Any) -> None:
        self.state = state


class FrameUnpickler(pickle.Unpickler):
    """Reads plain values as such and every admitted global as a fresh subclass of `Recorded`."""

    def find_class(self, module: str, name: str) -> type[Recorded]:
        """The stand-in for a global; UserError for one that no frame needs."""
        role = ROLES.get(f"{module}.{name}")
        if role is None:
            raise UserError(f"it asks for {module}.{name}, which no table of landmarks needs. {CONVERT}")
        return type(name, (Recorded,), {"role": role})

    def persistent_load(self, pid: Any) -> None:
        """Nothing outside the file is looked up."""
        raise UserError(f"it asks for an object outside the file. {CONVERT}")


def read_frame(path: str | Path) -> dict[str, np.ndarray]:
    """Columns by name, each an array (N,), of the pandas frame pickled in `path`. No code in it is run.

    Columns hold numbers, booleans, text, or objects: text, numbers, lists and arrays of these. UserError
    where the file is damaged, is no frame, or names anything that a frame does not need.
    """
    try:
        with Path(path).open("rb") as file:
            record = FrameUnpickler(file, encoding="latin1").load()
        if not isinstance(record, Recorded) or _role(record) != "frame":
            raise ValueError("it holds no pandas frame")
        return Builder().value(record)
    except UserError as error:
        raise UserError(f"{path} is refused: {error}") from None
    except Exception as error:  # a damaged stream fails in many ways
        reason = f"cannot be read as a pickled pandas frame ({error})"
        raise UserError(f"{path} {reason}. Get the file again.") from error


def _role(record: Recorded) -> str:
    """What a record stands for; protocols 0 and 1 wrap a class into a call of `_reconstructor`."""
    return record.args[0].role if record.role == "object" else record.role


class Builder:
    """Turns records into arrays; a record that the pickle shares is built once."""

    def __init__(self) -> None:
        self.built: dict[int, tuple[Any, Any]] = {}  # the item as well: while it lives, no other has its id

    def value(self, item: Any) -> Any:
        """The value of anything that the unpickler returned."""
        if not isinstance(item, Recorded | list | tuple | dict):
            return item
        if id(item) not in self.built:
            self.built[id(item)] = item, self._build(item)
        return self.built[id(item)][1]

    def _build(self, item: Any) -> Any:
        if isinstance(item, dict):
            return {key: self.value(value) for key, value in item.items()}
        if isinstance(item, list | tuple):
            return type(item)(self.value(value) for value in item)
        return getattr(self, _role(item))(item)  # a role is a name of ROLES, never of the file

    def frame(self, record: Recorded) -> dict[str, np.ndarray]:
        """Columns by name; the manager is `_data` before pandas 1.1."""
        (columns, _), blocks = self.value(record.state["_mgr" if "_mgr" in record.state else "_data"])
        placed: dict[int, np.ndarray] = {}
        for values, placement in blocks:
            where = np.arange(len(columns))[placement]
            rows = values[None] if values.ndim == 1 else values  # (columns of the block, N)
            placed |= dict(zip(where.tolist(), rows, strict=True))
        return {str(name): placed[i] for i, name in enumerate(columns)}

    def manager(self, record: Recorded) -> tuple[list, list]:
        """Axes (columns, rows) and blocks (values, placement): before pandas 1.3 a state, now arguments."""
        if record.state is None:
            blocks, axes = record.args
            return self.value(list(axes)), self.value(list(blocks))
        state = self.value(record.state[3]["0.14.1"])
        return list(state["axes"]), [(block["values"], block["mgr_locs"]) for block in state["blocks"]]

    def block(self, record: Recorded) -> tuple[np.ndarray, Any]:
        """Values and which columns they are."""
        return self.value(record.args[0]), self.value(record.args[1])

    def strings(self, record: Recorded) -> np.ndarray:
        """The array of objects inside an array of text."""
        return next(value for value in self.value(record.state) if isinstance(value, np.ndarray))

    def index(self, record: Recorded) -> np.ndarray | range:
        """Labels of an axis."""
        fields = self.value(record.args[1])
        return fields["data"] if "data" in fields else range(fields["start"], fields["stop"], fields["step"])

    def array(self, record: Recorded) -> np.ndarray:
        """An array from its state (version, shape, dtype, Fortran order, content)."""
        shape, dtype, fortran, content = (self.value(part) for part in record.state[-4:])
        if dtype.hasobject:
            flat = np.fromiter(content, dtype=object, count=len(content))
        else:
            flat = np.frombuffer(_raw(content), dtype)
        return flat.reshape(shape, order="F" if fortran else "C")

    def buffer(self, record: Recorded) -> np.ndarray:
        """An array of protocol 5: (content, dtype, shape, order[, order of the axes])."""
        content, dtype, shape, order, *axes = (self.value(part) for part in record.args)
        flat = np.frombuffer(_raw(content), dtype)
        if order == "K" and axes:
            return flat.reshape(shape).transpose(axes[0])
        return flat.reshape(shape, order=order)

    def scalar(self, record: Recorded) -> Any:
        """One number: (dtype, content)."""
        dtype, content = (self.value(part) for part in record.args)
        return np.frombuffer(_raw(content), dtype)[0]

    def dtype(self, record: Recorded) -> np.dtype:
        """Booleans, numbers, text and objects only: (name, ...) with the state (version, byte order, ...)."""
        name = record.args[0]
        if not isinstance(name, str) or not re.fullmatch(r"[biufSU]\d{1,6}|O\d?", name):
            raise ValueError(f"columns of type {name!r} are not read")
        order = record.state[1] if record.state else "="
        return np.dtype("O") if name.startswith("O") else np.dtype(order + name)

    def slice(self, record: Recorded) -> slice:
        """A slice of columns."""
        return slice(*record.args)

    def bytes(self, record: Recorded) -> bytes:
        """Bytes that protocols 0 to 2 write as Latin-1 text."""
        return _raw(record.args[0])

    def nothing(self, record: Recorded) -> None:
        """Classes and extension types carry no content."""


def _raw(content: str | bytes | bytearray) -> bytes:
    return content.encode("latin1") if isinstance(content, str) else bytes(content)
