"""Which code can change a number: what training or evaluation imports, as a hash that comments and layout leave be."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from ganseg.files import PACKAGE

# What cannot change a number: messages and files, and what an experiment's key holds already as its configuration.
HARMLESS = {
    "checkpoints",
    "config",
    "errors",
    "experiments",
    "files",
    "paths",
    "pictures",
    "registry",
    "report",
    "recipes",
}
# The module that reads or draws each data set.
READERS = {
    "synthetic-bird": ("creatures",),
    "synthetic-face": ("creatures",),
    "flowers": ("flowers",),
    "folder": ("folder",),
    "celeba-wild": ("celeba",),
    "celeba-aligned": ("celeba",),
    "cub": ("cub",),
    "taichi": ("taichi",),
}
# Code that learns what an earlier version learned, by the first digits of its hash: it keeps the earlier hash, and
# experiments keep their keys. What differs: which CPUs count as having bf16.
EQUAL = {
    "9808cbdeb203f934": "3d4c758651d12f3f7584a6a80bcc6ddb1e0939ab27a847ab77a3b75f0a16dd94",
    "6a4d44f8d6ddac75": "39762dde1fe56cbc940a85460645124bf0acb5376085bf4a5556096295bc65d5",
    "11a4d4d60cd27226": "778720abe4b0eb1ba3dad6888f29a45d0f2c4f83e57271f7325d16c0cfd37d3b",
    "0f7b2e4ad9259cba": "d8003b4080af802fd6812dfdf7647cd83c20bda8c339b2ce7324fb3d69b8aa76",
    "3ed44544c750792e": "adb946b6a4047aa0de76894787732af9bd2e192eb748f79bfb23b2c964f6b4af",
    "2d41fc4235ece238": "5ca81d843ae1187eb4b38789a05c4e931287107ad6e9088bd891b633788a3c2b",
}


@cache
def code_hash(data: str) -> str:
    """Of the code that can change what is learned from `data`."""
    found = _digest(_training(data))
    return EQUAL.get(found[:16], found)


@cache
def evaluation_hash(data: str) -> str:
    """Of the code that can change how a trained run on `data` is measured, but not what was trained."""
    return _digest(imported_by(PACKAGE / "evaluation.py") - _training(data))


def _training(data: str) -> set[Path]:
    roots = [PACKAGE / "training.py", PACKAGE / "data" / "batches.py"]
    roots += [PACKAGE / "data" / f"{reader}.py" for reader in READERS[data]]
    families = {reader for readers in READERS.values() for reader in readers} - set(READERS[data])
    return {path for root in roots for path in imported_by(root) if path.stem not in families}


@cache
def imported_by(path: Path) -> frozenset[Path]:
    """`path` and every module of the package that it imports, directly or not, but the harmless ones."""
    found, waiting = set(), [path]
    while waiting:
        current = waiting.pop()
        if current not in found and current.stem not in HARMLESS:
            found.add(current)
            waiting += _imports(current)
    return frozenset(found)


def _imports(path: Path) -> Iterator[Path]:
    """The modules of the package that one module imports by name; packages themselves only gather names."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == PACKAGE.name:
            module = PACKAGE.joinpath(*node.module.split(".")[1:])
            candidates = [module, *(module / alias.name for alias in node.names)]
            yield from (file for c in candidates if (file := c.with_suffix(".py")).is_file())


def _digest(paths: set[Path] | frozenset[Path]) -> str:
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(path.relative_to(PACKAGE).as_posix().encode() + b"\0" + bare_source(path.read_text()).encode())
    return digest.hexdigest()


def bare_source(source: str) -> str:
    """What `source` does, as text: its syntax tree without docstrings; comments and layout leave no trace.

    Written out because `ast.dump` differs between versions of Python; empty fields, which differ too, are left out.
    """
    return _dump(ast.parse(source))


def _dump(node: object) -> str:
    if isinstance(node, list):
        return "[" + ",".join(_dump(item) for item in node if not _is_text(item)) + "]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = ((name, value) for name, value in ast.iter_fields(node) if value not in (None, []) and name != "kind")
    return f"{type(node).__name__}({','.join(f'{name}={_dump(value)}' for name, value in fields)})"


def _is_text(node: object) -> bool:
    """Whether a statement is a bare string: a docstring."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
