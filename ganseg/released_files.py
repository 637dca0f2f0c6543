"""Reading files of the authors' released code without executing anything in them.

GENERATOR.model     torch-pickled {generator, discriminator, optim_gen, optim_disc}
SEGMENTER.model     torch-pickled {detector, optim}
parameters.json     the command line that trained the generator; beside its file or one folder above
"""

from __future__ import annotations

import pickle
import re
import zipfile
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ganseg.files import UserError, read_json

NAMES = {"generator": "generator", "detector": "segmentation network"}
BROKEN = (RuntimeError, EOFError, ValueError, KeyError, AttributeError, IndexError, TypeError)


def read_tensors(path: Path, part: Literal["generator", "detector"]) -> dict[str, Tensor]:
    """The tensors of `part` in a released file, or of a bare state dict, by name.

    UserError where the file is missing, damaged, of the other stage, or holds more than tensors.
    """
    content = load_safely(path)
    others = [name for key, name in NAMES.items() if isinstance(content, dict) and key in content]
    if isinstance(content, dict) and part in content:
        content = content[part]
    elif others:
        raise UserError(f"{path} holds a {others[0]}, not a {NAMES[part]}; were the two files exchanged?")
    values = list(content.values()) if isinstance(content, dict) else []
    if not values or not all(isinstance(value, Tensor) for value in values):
        raise UserError(f"{path} is no file of the released code: it has no state dict {part!r}")
    return {str(key).removeprefix("module."): value for key, value in content.items()}


def load_safely(path: Path) -> Any:
    """What torch pickled into `path`, tensors and plain values alone; UserError for anything else."""
    try:
        mapped = zipfile.is_zipfile(path) or None  # what is not asked for is not read
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except FileNotFoundError:
        raise UserError(f"{path} is not there") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder; name the file, such as checkpoints/epoch_29.model") from None
    except pickle.UnpicklingError as error:
        asked = re.search(r"GLOBAL (\S+)", str(error))
        if not asked:
            raise UserError(f"{path} is damaged, or no file of torch; nothing in it was executed") from None
        raise UserError(
            f"{path} was refused and nothing in it was executed: it asks for {asked[1].rstrip('.')}, and a "
            "checkpoint needs nothing but tensors; do not load it with other programs either"
        ) from None
    except BROKEN as error:
        reason = str(error).splitlines()[0] if str(error) else "it ends early"
        raise UserError(f"{path} is damaged, or no file of torch ({reason})") from None


def find_parameters(checkpoint: Path) -> Path | None:
    """parameters.json beside the checkpoint, or above its folder, as the released code writes it."""
    places = (folder / "parameters.json" for folder in (checkpoint.parent, checkpoint.parent.parent))
    return next((path for path in places if path.is_file()), None)


def read_parameters(path: Path) -> dict[str, Any]:
    """The generator's parameters.json; UserError where it is missing, damaged, or of the other stage."""
    try:
        values = read_json(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as JSON ({error})") from None
    if not isinstance(values, dict):
        raise UserError(f"{path} is not the released parameters.json: it holds no names with values")
    if "generator_log" in values:
        log = values["generator_log"]
        raise UserError(f"{path} belongs to a segmentation network; name the generator's, of {log}")
    return values


def number(given: dict[str, Any], key: str) -> int:
    """A whole number of parameters.json."""
    try:
        return int(given[key])
    except (TypeError, ValueError):
        raise UserError(f"{key} is {given[key]!r} in parameters.json; expected a whole number") from None


def numbers(given: dict[str, Any], key: str) -> tuple[int, ...]:
    """Whole numbers of parameters.json, which has them as text with commas."""
    try:
        return tuple(int(w) for w in (given[key].split(",") if isinstance(given[key], str) else given[key]))
    except (TypeError, ValueError):
        wanted = "whole numbers with commas between them"
        raise UserError(f"{key} is {given[key]!r} in parameters.json; expected {wanted}") from None
