"""Runs made of the authors' released files (`ganseg import-released`), of which nothing is executed.

GENERATOR.model    torch-pickled {generator, discriminator, optim_gen, optim_disc}
SEGMENTER.model    torch-pickled {detector, optim}
parameters.json    the command line that trained the generator; beside its file or one folder above
"""

from __future__ import annotations

import datetime
import hashlib
import json
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from ganseg import provenance
from ganseg.config import Config, GeneratorConfig
from ganseg.data import describe
from ganseg.experiments import CONFIG, GENERATOR, PROVENANCE, SEGMENTER
from ganseg.files import UserError, read_json, results_dir, write_json
from ganseg.generator import Generator
from ganseg.recipes import resolve
from ganseg.released import Tensors, convert_generator, convert_segmenter, infer_generator
from ganseg.segmenter import Segmenter
from ganseg.training import save_weights

SCALE, VARIANT = "paper", "imported"
Heatmap = Literal["cone", "gaussian"]
STAGES = {"generator": "generator", "detector": "segmentation network"}
# class_name of the released code -> our data set
DATA = {"celeba_wild": "celeba-wild", "celeba_aligned": "celeba-aligned", "cub": "cub", "flower": "flowers",
        "taichi": "taichi"}  # fmt: skip
# Keys of parameters.json: fields that the tensors' shapes must agree with, fields that are taken over, keys that are
# treated one by one, and keys without a bearing here.
CHECKED = {"z_dim": "noise_dim", "n_keypoints": "parts", "n_per_kp": "points_per_part", "n_embedding": "embedding_dim",
           "image_size": "size"}  # fmt: skip
TAKEN = {"batch_size": "optim.batch_size", "lr_gen": "optim.lr_generator", "lr_disc": "optim.lr_discriminator",
         "con_penalty_coef": "losses.lambda_con", "area_penalty_coef": "losses.lambda_area"}  # fmt: skip
USED = "feature_map_sizes feature_map_channels single_final use_linear smaller_init_mask class_name".split()
IDLE = "model dis_model disc_iters num_workers data_root checkpoint log".split()


class Imported(NamedTuple):
    """A run made of released files, and what a person should know about it."""

    directory: Path
    notes: list[str]


def import_released(
    checkpoint: str | Path, segmenter: str | Path | None = None, parameters: str | Path | None = None, *,
    data: str | None = None, parts: int | None = None, heatmap: Heatmap | None = None,
    results: str | Path | None = None, name: str | None = None,
) -> Imported:  # fmt: skip
    """Make a run of a released generator, and of a released segmentation network where there is one.

    `parameters`: the generator's parameters.json, looked for beside it by default. `data`: one of our data sets,
    `folder` where nothing tells it. `parts` (K) and `heatmap` are checked against the files. The run lies in
    `results`/paper/runs/; `name` is its folder. UserError for what does not fit, by released name.
    """
    files = {"generator": Path(checkpoint).expanduser()}
    files |= {"segmenter": Path(segmenter).expanduser()} if segmenter else {}
    files |= {"parameters": found} if (found := _parameters(files["generator"], parameters)) else {}
    given = read_parameters(files["parameters"]) if "parameters" in files else {}
    released = read_tensors(files["generator"], "generator")
    generator = configure(released, given, parts, heatmap)
    config = training_settings(data, generator, given)
    modules = {GENERATOR: Generator(generator)}
    modules[GENERATOR].load_state_dict(convert_generator(released, generator))
    notes = assumptions(config, given, data, heatmap)
    if "parameters" in files and not parameters:  # no folders above its own: the note is published
        notes.append(f"read {files['parameters'].parent.resolve().name}/{files['parameters'].name}")
    if segmenter:
        modules[SEGMENTER] = Segmenter(config.segmenter, generator.parts)
        state, dropped = convert_segmenter(read_tensors(files["segmenter"], "detector"), modules[SEGMENTER])
        modules[SEGMENTER].load_state_dict(state)
        head = "the auxiliary head (model.aux_classifier.*), which is of use in training alone"
        notes += [f"left out {dropped} tensors of {head}"] if dropped else []
    else:
        notes.append("no segmentation network: `sample` works; `segment` and `evaluate` need --segmenter FILE")
    return Imported(write_run(config, modules, files, notes, results, name), notes)


def read_tensors(path: Path, part: Literal["generator", "detector"]) -> Tensors:
    """The tensors of `part` in a released file, or of a bare state dict, by name.

    UserError where the file is missing, damaged, of the other stage, or holds more than tensors.
    """
    content = load_safely(path)
    others = [title for key, title in STAGES.items() if isinstance(content, dict) and key in content]
    if isinstance(content, dict) and part in content:
        content = content[part]
    elif others:
        raise UserError(f"{path} holds a {others[0]}, not a {STAGES[part]}; were the two files exchanged?")
    values = list(content.values()) if isinstance(content, dict) else []
    if not values or not all(isinstance(value, Tensor) for value in values):
        raise UserError(f"{path} is no file of the released code: it has no state dict {part!r}")
    return {str(key).removeprefix("module."): value for key, value in content.items()}


def load_safely(path: Path) -> Any:
    """What torch pickled into `path`, tensors and plain values alone; UserError for anything else."""
    try:
        mapped = zipfile.is_zipfile(path) or None  # what is not asked for is not read
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except OSError as error:
        fault = f"cannot be read ({error.strerror}); name the file, such as checkpoints/epoch_29.model"
    except pickle.UnpicklingError as error:
        asked = re.search(r"GLOBAL (\S+)", str(error))
        fault = "is damaged, or no file of torch; nothing in it was executed" if not asked else (
            f"was refused and nothing in it was executed: it asks for {asked[1].rstrip('.')}, and a checkpoint needs "
            "nothing but tensors; do not load it with other programs either"
        )  # fmt: skip
    except (RuntimeError, EOFError, ValueError, KeyError, AttributeError, IndexError, TypeError) as error:
        fault = f"is damaged, or no file of torch ({str(error).partition(chr(10))[0] or 'it ends early'})"
    raise UserError(f"{path} {fault}")


def _parameters(checkpoint: Path, given: str | Path | None) -> Path | None:
    """parameters.json as `given`, or beside the checkpoint, or above its folder, as the released code writes it."""
    if given:
        return Path(given).expanduser()
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


def numbers(given: Mapping[str, Any], key: str) -> tuple[int, ...]:
    """Whole numbers of parameters.json: one, or text with commas; UserError for anything else."""
    try:
        return tuple(map(int, str(given[key]).strip("[]()").split(",")))
    except ValueError:
        wanted = "whole numbers with commas between them"
        raise UserError(f"{key} is {given[key]!r} in parameters.json; expected {wanted}") from None


def configure(
    released: Tensors, given: Mapping[str, Any], parts: int | None, heatmap: Heatmap | None
) -> GeneratorConfig:
    """The generator's configuration; UserError lists every contradiction between the files by name."""
    cone = numbers(given, "use_linear") != (0,) if "use_linear" in given else heatmap != "gaussian"
    sizes = numbers(given, "feature_map_sizes") if "feature_map_sizes" in given else None
    config = infer_generator(released, sizes, cone)
    has = {key: (getattr(config, field),) for key, field in CHECKED.items()}
    has |= {"feature_map_channels": config.block_widths, "single_final": (int(config.rgb_layers == 1),)}
    said = {key: numbers(given, key) for key in has if key in given}
    faults = [f"{key} is {_shown(said[key])} in parameters.json, {_shown(has[key])} in the checkpoint"
              for key in said if said[key] != has[key]]  # fmt: skip
    if parts not in (None, config.parts):
        faults.append(f"--parts {parts}, but the checkpoint has K = {config.parts}")
    if heatmap and (heatmap == "cone") != cone:
        faults.append(f"--heatmap {heatmap}, but use_linear is {given['use_linear']} in parameters.json")
    if faults:
        raise UserError("these do not fit the checkpoint:\n  " + "\n  ".join(faults))
    return config


def _shown(values: tuple[int, ...]) -> str:
    return ",".join(map(str, values))


def training_settings(data: str | None, generator: GeneratorConfig, given: Mapping[str, Any]) -> Config:
    """The released variant at the paper's scale with this generator; steps are 0: no file tells them."""
    name = describe(data or DATA.get(str(given.get("class_name")), "folder")).name
    settings = {f"generator.{key}": value for key, value in generator.to_dict().items()}
    settings |= {"data.size": generator.size, "optim.steps": 0, "segmenter.steps": 0}
    settings |= {"segmenter.backbone": "resnet50", "segmenter.output_stride": 8}
    settings |= {field: given[key] for key, field in TAKEN.items() if key in given}
    if given.get("smaller_init_mask"):  # the area of the heatmap instead of the disc's
        settings["losses.area"] = "heatmap"
    return resolve(name, "released", SCALE, generator.parts).replace(settings)


def assumptions(config: Config, given: Mapping[str, Any], data: str | None, heatmap: Heatmap | None) -> list[str]:
    """What neither the tensors nor parameters.json told, and what of the latter is not known."""
    notes, told = [], DATA.get(str(given.get("class_name")))
    if not data and not told:
        notes.append("the data set is not known: folder is assumed (--data NAME otherwise)")
    if data and told and data != told:
        notes.append(f"evaluated on {data}; it was trained on {told} (class_name = {given['class_name']})")
    known = {*CHECKED, *TAKEN, *USED, *IDLE}
    notes += [f"unknown in parameters.json, not used: {k} = {v}" for k, v in given.items() if k not in known]
    if not heatmap and "use_linear" not in given:
        why = "as in all released runs (--heatmap gaussian otherwise)"
        notes.append(f"no parameters.json tells use_linear: cone heatmaps are assumed, {why}")
    if "feature_map_sizes" not in given:
        blocks = _shown(config.generator.block_sizes)
        notes.append(f"no parameters.json tells feature_map_sizes: blocks of {blocks} pixels are assumed")
    return notes


def write_run(
    config: Config, modules: Mapping[str, nn.Module], files: Mapping[str, Path], notes: list[str],
    results: str | Path | None, name: str | None,
) -> Path:  # fmt: skip
    """Write the run directory, config.json last; UserError where `name` is another run's."""
    sources = {kind: {"file": path.name, "sha256": _sha256(path)} for kind, path in files.items()}
    text = json.dumps([[source["sha256"] for source in sources.values()], config.to_dict()], sort_keys=True)
    key = hashlib.sha256(text.encode()).hexdigest()[:8]
    usual = f"{config.data.name}-{VARIANT}-k{config.generator.parts}-s{config.seed}-{key}"
    directory = results_dir(results) / SCALE / "runs" / (name or usual)
    there = (directory / CONFIG).exists() and (directory / PROVENANCE)
    if there and not (there.exists() and read_json(there).get("key") == key):
        raise UserError(f"{directory} is another run; choose another --name, or delete it")
    for file, module in modules.items():
        save_weights(directory / file, module)
    epoch = re.match(r"epoch_(\d+)\.", files["generator"].name)
    told = {
        "imported": sources, "epoch": int(epoch[1]) if epoch else None, "notes": notes, "variant": VARIANT,
        "data": config.data.name, "parts": config.generator.parts, "seed": config.seed, "scale": SCALE, "key": key,
        "overrides": {}, "steps": None, "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }  # fmt: skip
    origin = provenance.git_state() | provenance.describe_machine(torch.device("cpu"))
    write_json(directory / PROVENANCE, told | origin)
    write_json(directory / CONFIG, {"config": config.to_dict(), "variant": VARIANT, "scale": SCALE})
    return directory


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
