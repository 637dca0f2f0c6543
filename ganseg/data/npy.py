"""Writing .npy files row by row, without knowing beforehand how many rows there will be."""

from __future__ import annotations

from pathlib import Path

import numpy as np


class RowWriter:
    """Appends to an .npy file; plain writes, so that a full disk is an OSError and not a crash."""

    def __init__(self, path: Path, row_shape: tuple[int, ...], dtype: np.dtype) -> None:
        self._file, self._row_shape, self._dtype, self._rows = path.open("wb"), row_shape, np.dtype(dtype), 0
        self._start = self._header()

    def _header(self) -> int:
        self._file.seek(0)
        shape = (self._rows, *self._row_shape)
        fields = {"descr": np.lib.format.dtype_to_descr(self._dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, fields)
        return self._file.tell()

    def append(self, rows: np.ndarray) -> None:
        """Write (n, *row_shape)."""
        self._file.write(np.ascontiguousarray(rows, dtype=self._dtype).data)
        self._rows += len(rows)

    def close(self, complete: bool) -> None:
        """Close; `complete` writes the true number of rows into the header (NumPy leaves room for it)."""
        with self._file:
            if complete and self._header() != self._start:
                raise ValueError("this version of NumPy leaves no room in the header of an .npy file")
