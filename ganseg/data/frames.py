"""Pickled pandas frames, read without running them.

A pickle is a program: loading one calls whatever functions it names. Here each name that a frame of pandas 0.25 or
later needs becomes an inert record of what it would have been called with, any other name is refused, and the arrays
are then built from those records. Neither pandas' nor NumPy's unpickling takes part: they trust the file, and three
wrong bytes in it end the process.
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
    "nothing": "numpy.ndarray builtins.object __builtin__.object pandas.Index pandas.RangeIndex pandas.StringDtype "
    "pandas.arrays.StringArray pandas.core.indexes.base.Index pandas.core.indexes.range.RangeIndex "
    "pandas.core.indexes.numeric.Int64Index pandas.core.indexes.numeric.UInt64Index "
    "pandas.core.indexes.numeric.Float64Index pandas.core.arrays.string_.StringDtype "
    "pandas.core.arrays.string_.StringArray pandas.core.arrays.string_.StringArrayNumpySemantics",
}
ROLES = {name: role for role, names in ADMITTED.items() for name in names.split()}
CONVERT = "Trust no such file; if you do trust it, save the frame as .csv or .npz where it was made."


class Record:
    """A call that the pickle asked for, and the state it wanted to set. Nothing is called."""

    role = ""

    def __new__(cls, *args: Any) -> Record:
        record = super().__new__(cls)
        record.args, record.state = args, None
        return record

    def __setstate__(self, state: Any) -> None:
        self.state = state


class FrameUnpickler(pickle.Unpickler):
    """Reads plain values as such and every admitted name as a fresh subclass of `Record`."""

    def find_class(self, module: str, name: str) -> type[Record]:
        """The stand-in for a name; UserError for one that no frame needs."""
        role = ROLES.get(f"{module}.{name}")
        if role is None:
            raise UserError(f"it asks for {module}.{name}, which no table of landmarks needs. {CONVERT}")
        return type(name, (Record,), {"role": role})

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
        if not isinstance(record, Record) or _role(record) != "frame":
            raise ValueError("it holds no pandas frame")
        return _frame(record)
    except UserError as error:
        raise UserError(f"{path} is refused: {error}") from None
    except Exception as error:  # a damaged stream fails in many ways
        reason = f"cannot be read as a pickled pandas frame ({error})"
        raise UserError(f"{path} {reason}. Get the file again.") from error


def _role(record: Record) -> str:
    """What a record stands for; protocols 0 and 1 wrap a class into a call of `_reconstructor`."""
    return record.args[0].role if record.role == "object" else record.role


def _frame(record: Record) -> dict[str, np.ndarray]:
    """The manager is `_data` before pandas 1.1; before 1.3 it has a state, now arguments."""
    made: dict[int, Any] = {}  # by id: all are part of `record`, which keeps them alive
    manager = record.state["_mgr" if "_mgr" in record.state else "_data"]
    if manager.state is None:
        blocks, (columns, _) = (_value(part, made) for part in manager.args)
    else:
        state = _value(manager.state[3]["0.14.1"], made)
        columns, blocks = state["axes"][0], [(block["values"], block["mgr_locs"]) for block in state["blocks"]]
    placed: dict[int, np.ndarray] = {}
    for values, placement, *_ in blocks:
        rows = values[None] if values.ndim == 1 else values  # (columns of the block, N)
        placed |= dict(zip(np.arange(len(columns))[placement].tolist(), rows, strict=True))
    return {str(name): placed[i] for i, name in enumerate(columns)}


def _value(item: Any, made: dict[int, Any]) -> Any:
    """The value of anything that the unpickler returned; what the pickle shares is built once."""
    if id(item) in made:
        return made[id(item)]
    match item:
        case Record():
            value = _built(_role(item), [_value(one, made) for one in item.args], _value(item.state, made))
        case dict():
            value = {key: _value(one, made) for key, one in item.items()}
        case list() | tuple():
            value = type(item)(_value(one, made) for one in item)
        case _:
            return item
    made[id(item)] = value
    return value


def _built(role: str, args: list[Any], state: Any) -> Any:
    """The array, number or part of a frame that a call with `args`, and a `state`, would have made."""
    match role:
        case "array":  # (version, shape, dtype, Fortran order, content)
            shape, dtype, fortran, content = state[-4:]
            objects = dtype.hasobject
            flat = np.fromiter(content, object, len(content)) if objects else np.frombuffer(_raw(content), dtype)
            return flat.reshape(shape, order="F" if fortran else "C")
        case "buffer":  # protocol 5
            content, dtype, shape, order, *axes = args
            flat = np.frombuffer(_raw(content), dtype)
            turned = order == "K" and axes
            return flat.reshape(shape).transpose(axes[0]) if turned else flat.reshape(shape, order=order)
        case "scalar":
            dtype, content = args
            return np.frombuffer(_raw(content), dtype)[0]
        case "dtype":  # booleans, numbers, text and objects only
            name = args[0]
            if not isinstance(name, str) or not re.fullmatch(r"[biufSU]\d{1,6}|O\d?", name):
                raise ValueError(f"columns of type {name!r} are not read")
            return np.dtype("O") if name.startswith("O") else np.dtype((state[1] if state else "=") + name)
        case "index":
            fields = args[1]
            return fields["data"] if "data" in fields else range(fields["start"], fields["stop"], fields["step"])
        case "strings":  # the array of objects inside an array of text
            return next(value for value in state if isinstance(value, np.ndarray))
        case "block":
            return args
        case "slice":
            return slice(*args)
        case "bytes":  # protocols 0 to 2 write them as Latin-1 text
            return _raw(args[0])
    return None  # classes and extension types carry no content


def _raw(content: str | bytes | bytearray) -> bytes:
    return content.encode("latin1") if isinstance(content, str) else bytes(content)
