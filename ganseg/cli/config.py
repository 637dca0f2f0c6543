"""What can be typed on the command line: the options that commands share, and how their values are read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, get_args

from typer import Argument, Option

from ganseg.config import FabricPrecision
from ganseg.files import UserError

PRECISIONS = ("auto", *get_args(FabricPrecision))
_NUMBER = r"(\d+(?:\.\d+)?)"
_DURATION = re.compile(rf"(?:{_NUMBER}h)?(?:{_NUMBER}m)?(?:{_NUMBER}s?)?")

COMPUTING = {"rich_help_panel": "Computing"}
RunName = Annotated[
    str,
    Argument(
        metavar="RUN",
        help="A run's folder, its key, or a part of its name that no other run has; see 'ganseg runs'.",
    ),
]
Results = Annotated[
    Path | None,
    Option("--results", metavar="DIR", show_default="results/ of the project", help="Folder that holds all runs."),
]
DataDir = Annotated[Path | None, Option("--data-dir", metavar="DIR", help="Where the data set lies on your disk.")]
Device = Annotated[str, Option("--device", help="auto, cpu, cuda or mps.", **COMPUTING)]
Data = Annotated[
    str,
    Option(
        metavar="NAME",
        help="synthetic-bird or synthetic-face (drawn by the package), celeba-wild, celeba-aligned, cub, "
        "flowers, taichi, or folder (your own images).",
    ),
]
Scale = Annotated[
    str,
    Option(
        metavar="NAME",
        help="Size and budget: tiny (2 minutes), laptop (15 minutes), gpu (25 minutes of a GPU) "
        "or paper (hours of a GPU).",
    ),
]
Size = Annotated[
    int | None,
    Option(
        "--size",
        min=8,
        metavar="PIXELS",
        show_default="the scale's",
        help="Side of the images, such as 64 or 256; both networks get blocks that fit.",
    ),
]
Variant = Annotated[
    str,
    Option(
        metavar="NAME",
        help="Which equations: paper (as printed) or released (as in the authors' code); "
        "departures are added by +, as in paper+no-area.",
    ),
]
Parts = Annotated[
    int | None,
    Option("--parts", "-K", min=1, metavar="K", show_default="what suits the data set", help="Number of parts K."),
]
Settings = Annotated[
    list[str] | None,
    Option(
        "--set",
        metavar="SECTION.FIELD=VALUE",
        help="Any setting, as losses.lambda_con=30; may be given several times.",
    ),
]
TimeLimit = Annotated[
    str | None,
    Option(
        "--time-limit",
        metavar="TIME",
        help="Stop cleanly after 90s, 10m or 1h30m; the same command goes on later.",
    ),
]
Seed = Annotated[int, Option(metavar="N", help="Another seed, other random numbers.")]
Quiet = Annotated[bool, Option("--quiet", "-q", help="No progress; print the run's folder only.")]
Devices = Annotated[str, Option(metavar="N", help="Devices on each machine: a number, or auto.", **COMPUTING)]
Nodes = Annotated[int, Option("--num-nodes", min=1, metavar="N", help="Machines.", **COMPUTING)]
Precision = Annotated[str, Option(metavar="NAME", help=f"{', '.join(PRECISIONS)}.", **COMPUTING)]


def parse_duration(text: str | None) -> float | None:
    """Seconds of "90s", "10m", "1h30m" or "45"; UserError for anything else."""
    if text is None:
        return None
    found = _DURATION.fullmatch(text.strip().lower())
    groups = found.groups() if found else ()
    seconds = sum(float(number or 0) * unit for number, unit in zip(groups, (3600, 60, 1), strict=bool(groups)))
    if not seconds:
        raise UserError(f"--time-limit {text!r} is not a time; write 90s, 10m or 1h30m")
    return seconds


def parse_settings(pairs: list[str] | None) -> dict[str, str]:
    """`["losses.lambda_con=30"]` as a dictionary; UserError where there is no "="."""
    wrong = [pair for pair in pairs or () if "=" not in pair]
    if wrong:
        raise UserError(f"--set {wrong[0]!r}: write SECTION.FIELD=VALUE, as in --set losses.lambda_con=30")
    halves = (pair.partition("=") for pair in pairs or ())
    return {name.strip(): value.strip() for name, _, value in halves}


def parse_devices(text: str) -> int | str:
    """A number of devices, or "auto"."""
    if text != "auto" and not (text.isdigit() and int(text)):
        raise UserError(f"--devices {text}: write a number from 1 on, or auto")
    return text if text == "auto" else int(text)


def check_computing(device: str, precision: str = "auto") -> None:
    """UserError for a device or precision that is not there."""
    import torch

    there = {
        "auto": True,
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there.get(device):
        known = "this machine has none; use auto or cpu" if device in there else "it is auto, cpu, cuda or mps"
        raise UserError(f"--device {device}: {known}")
    if precision not in PRECISIONS:
        raise UserError(f"--precision {precision}: it is one of {', '.join(PRECISIONS)}")
