"""Runs made of the authors' released files (`ganseg import-released`), of which nothing is executed.

    GENERATOR.model    torch-pickled {generator, discriminator, optim_gen, optim_disc}
    SEGMENTER.model    torch-pickled {detector, optim}
    parameters.json    the command line that trained the generator: beside its file, or one folder above

Of parameters.json are read class_name, feature_map_sizes and use_linear, which no tensor tells.

The released code stores coordinates as (row, column), subtracts x - p where Eq. 5 prints p - x, and puts the background
mask last; weights are permuted so that ours, in (x, y) and background first, compute the same function.
"""

import hashlib
import math
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ganseg.config import Config, GeneratorConfig
from ganseg.data import DATASETS, describe
from ganseg.data.files import digest
from ganseg.files import UserError, place, read_json, reading, results_dir, write_json
from ganseg.generator import Generator
from ganseg.loop import save_weights
from ganseg.recipes import resolve
from ganseg.runs import CONFIG, GENERATOR, PROVENANCE, SEGMENTER, now, origin
from ganseg.segmenter import Segmenter

Tensors = dict[str, Tensor]
SCALE, VARIANT = "paper", "imported"
COMPUTED = "init_extend_coord"  # the released code stores its grid; ours is computed
IGNORED = (COMPUTED, "model.aux_classifier.")  # the auxiliary head serves training alone
MARGIN = 10  # pixels that the released code keeps around the image
DATA = {name.replace("-", "_"): name for name in DATASETS} | {"flower": "flowers"}  # class_name -> ours
SHIPPED = {4: (32, 32, 64, 128), 6: (32, 32, 64, 64, 128, 128)}  # number of blocks -> their sizes
RENAMED = [  # our part of a name -> the released one, applied in this order
    (r"^point_generator\.constant$", "keypoints_embedding.weight"),
    (r"^point_generator\.points\.", "gen_keypoints_layer."),
    (r"^point_generator\.appearance\.", "gen_keypoints_embedding_noise."),
    (r"^background_generator\.appearance\.", "gen_background_embedding."),
    (r"^mask_generator\.start\.linear", "mask_start.pe"),
    (r"^foreground_generator\.start\.linear", "x_start.pe"),
    (r"^background_generator\.start\.linear", "bg_start.pe"),
    (r"^mask_generator\.blocks", "mask_spade_blocks"),
    (r"^foreground_generator\.blocks", "spade_blocks"),
    (r"^background_generator\.blocks\.(\d+)\.conv\.", r"adain_blocks.\1.conv1."),
    (r"^background_generator\.blocks\.(\d+)\.adain\.", r"adain_blocks.\1.spade1."),
    (r"^composition\.convs", "conv"),
    (r"\.(gamma|beta)\.", r".conv_\1."),
    (r"\.shared\.", ".conv."),
]


def import_released(
    checkpoint: str | Path, segmenter: str | Path | None = None, *, data: str | None = None,
    results: str | Path | None = None,
) -> tuple[Path, list[str]]:  # fmt: skip
    """Make a run of a released generator, and of a released segmentation network where there is one.

    `data`: one of our data sets, else the one that parameters.json names, else `folder`. Returns the run's directory,
    in `results`/paper/runs/, and notes on what was assumed. UserError for what does not fit, by released name.
    """
    path = place(checkpoint)
    parameters = next((file for folder in path.parents[:2] if (file := folder / "parameters.json").is_file()), None)
    named = {"generator": path, "segmenter": segmenter, "parameters": parameters}
    files = {kind: place(file) for kind, file in named.items() if file}
    released, given = read_tensors(path, "generator"), read_json(parameters, dict) if parameters else {}
    name = describe(data).name if data else DATA.get(str(given.get("class_name")), "folder")
    config = infer_config(released, given, name)
    modules: dict[str, nn.Module] = {GENERATOR: Generator(config.generator)}
    modules[GENERATOR].load_state_dict(convert_generator(released, config.generator))
    if segmenter:
        network = modules[SEGMENTER] = Segmenter(config.segmenter, config.generator.parts)
        names = {ours: ours.replace("network.", "model.", 1) for ours in network.state_dict()}
        detector = read_tensors(files["segmenter"], "detector")
        network.load_state_dict(_taken(detector, network, names, "segmentation network"))
    assumed = {"class_name": f"the data set {name}", "use_linear": "1, a cone, as in all that was released",
               "feature_map_sizes": ", ".join(map(str, config.generator.block_sizes))}  # fmt: skip
    notes = [f"no parameters.json tells {key}; assumed: {value}" for key, value in assumed.items() if key not in given]
    if not segmenter:
        notes.append("no segmentation network: `sample` works; `segment` and `evaluate` need --segmenter FILE")
    return write_run(config, modules, files, notes, results_dir(results)), notes


def read_tensors(path: Path, part: Literal["generator", "detector"]) -> Tensors:
    """The tensors of `part` in a released file, or of a bare state dict, by name; UserError for any other file."""
    try:
        if zipfile.is_zipfile(path) and any(entry.compress_type for entry in zipfile.ZipFile(path).infolist()):
            raise ValueError("torch compresses nothing")  # what fills the memory does
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); name a file, as epoch_29.model") from None
    except Exception as error:  # damaged and hostile files fail in many ways
        asked = re.search(r"GLOBAL (\S+)", str(error))
        fault = f"asks for {asked[1].rstrip('.')}, not only for tensors" if asked else "is damaged, or no file of torch"
        raise UserError(f"{path} {fault}; it was refused and nothing in it was executed") from None
    tensors = content.get(part, content) if isinstance(content, dict) else {}
    if not isinstance(tensors, dict) or not tensors or not all(isinstance(v, Tensor) for v in tensors.values()):
        holds = ", ".join(list(map(str, content))[:4]) if isinstance(content, dict) else type(content).__name__
        raise UserError(f"{path} has no state dict {part!r}, it holds {holds}; is it the released code's {part}?")
    return {str(name).removeprefix("module."): value for name, value in tensors.items()}


def infer_config(released: Mapping[str, Tensor], given: Mapping[str, Any], data: str) -> Config:
    """The released variant, of no steps, with a generator as the shapes tell, and what they do not, as `given`.

    Without that the heatmap is a cone, and blocks have the sizes that were released or double at every one.
    UserError names the tensor that is missing.
    """
    indices = lambda module: sorted({int(m[1]) for key in released if (m := re.match(rf"{module}\.(\d+)\.", key))})
    length = lambda name, axis: released[name].shape[axis]
    blocks, layers = indices("adain_blocks"), indices("gen_keypoints_layer")
    try:
        parts, start = length("keypoints_embedding.weight", 0), math.isqrt(length(COMPUTED, 1)) - 2 * MARGIN
        told = {
            "points_per_part": length(f"gen_keypoints_layer.{layers[-1]}.weight", 0) // (2 * parts), "margin": MARGIN,
            "noise_dim": length("gen_keypoints_layer.0.model.0.weight", 1), "point_layers": len(layers),
            "embedding_dim": length("keypoints_embedding.weight", 1), "rgb_layers": len(indices("conv")),
            "block_widths": [length(f"adain_blocks.{i}.conv1.weight", 1) for i in blocks],
            "spade_hidden": length("adain_blocks.0.spade1.conv.weight", 0), "rgb_kernel": length("conv.0.weight", -1),
            "appearance_layers": len(indices("gen_keypoints_embedding_noise")),
        }  # fmt: skip
    except (LookupError, ArithmeticError) as error:
        fault = f"missing: {error.args[0]}" if isinstance(error, KeyError) else "tensors of other dimensions"
        raise UserError(f"this is not a released generator:\n  {fault}") from None
    usual = SHIPPED.get(len(blocks), ())
    usual = usual if usual[:1] == (start,) else [start * 2**i for i in range(len(blocks))]
    sizes = given.get("feature_map_sizes") or usual  # "8,16" or a list
    with reading(Path("parameters.json"), "feature_map_sizes and use_linear must be whole numbers."):
        sizes = told["block_sizes"] = [int(size) for size in (sizes.split(",") if isinstance(sizes, str) else sizes)]
        cone = int(given.get("use_linear", 1))
    if sizes[0] != start:
        raise UserError(f"feature_map_sizes is {sizes}, but {COMPUTED} begins with {start} pixels")
    if not cone:
        told |= {"part_scale": "distance_variance", "heatmap": "gaussian_unsquared"}
    settings = {f"generator.{field}": value for field, value in told.items()}
    settings |= {"data.size": sizes[-1], "optim.steps": 0, "segmenter.steps": 0}
    settings |= {"segmenter.backbone": "resnet50", "segmenter.output_stride": 8}
    return resolve(data, "released", SCALE, parts).replace(settings)


def released_name(name: str, config: GeneratorConfig) -> str:
    """The released tensor that is our parameter or buffer `name`."""
    layers = config.point_layers if name.startswith("point_generator.points") else config.appearance_layers
    for ours, theirs in RENAMED:
        name = re.sub(ours, theirs, name)
    mlp = re.fullmatch(r"(gen_\w+)\.(\d+)\.(\w+)", name)
    if mlp:  # every second module of ours is an activation; theirs sit inside the layer, except in the last one
        layer = int(mlp[2]) // 2
        name = f"{mlp[1]}.{layer}.{'' if layer == layers - 1 else 'model.0.'}{mlp[3]}"
    return name


def convert_generator(released: Tensors, config: GeneratorConfig) -> Tensors:
    """State dict of our `Generator(config)` from the released generator's tensors, any dtype kept.

    UserError lists every missing, unknown and wrongly shaped tensor by its released name.
    """
    with torch.device("meta"):
        network = Generator(config)
    sources = {ours: released_name(ours, config) for ours in network.state_dict()}
    state = _taken(released, network, sources, "generator")
    for kind in ("weight", "bias"):  # rows (row, column) -> (x, y) of the points
        name = f"point_generator.points.{2 * config.point_layers - 2}.{kind}"
        state[name] = state[name].unflatten(0, (-1, 2)).flip(1).flatten(0, 1)
    for level in ("mask", "foreground", "background"):  # columns of the encodings; x - p -> p - x
        name = f"{level}_generator.start.linear.weight"
        state[name] = -state[name].flatten(1).unflatten(1, (-1, 2)).flip(2).flatten(1)
    block = f"mask_generator.blocks.{len(config.block_sizes) - 1}"
    if f"{block}.conv_shortcut.weight" not in state:
        equal = f"K + 1 = {config.parts + 1} equals the width of the last mask block"
        raise UserError(f"{equal}, whose identity shortcut cannot be re-ordered to background first")
    for layer in ("conv2", "conv_shortcut"):  # channels, background last -> first
        for kind in ("weight", "bias"):
            state[f"{block}.{layer}.{kind}"] = state[f"{block}.{layer}.{kind}"].roll(1, dims=0)
    return state


def _taken(released: Tensors, network: nn.Module, sources: Mapping[str, str], what: str) -> Tensors:
    """Our names with the released tensors, once names and shapes were compared with those that are needed."""
    needed = {sources[ours]: tuple(like.shape) for ours, like in network.state_dict().items()}
    # the encodings are 1x1 convolutions in the released code
    needed = {name: (*shape, 1, 1) if name.endswith(".pe.weight") else shape for name, shape in needed.items()}
    shapes = {name: tuple(tensor.shape) for name, tensor in released.items() if not name.startswith(IGNORED)}
    faults = [f"missing: {name}" for name in needed if name not in shapes]
    faults += [f"unknown: {name}" for name in shapes if name not in needed]
    faults += [f"{name} has the shape {shapes[name]}, this configuration needs {shape}"
               for name, shape in needed.items() if shapes.get(name, shape) != shape]  # fmt: skip
    if faults:
        raise UserError(f"these are not the tensors of a released {what}:\n  " + "\n  ".join(faults))
    return {ours: released[theirs] for ours, theirs in sources.items()}


def write_run(
    config: Config, modules: Mapping[str, nn.Module], files: Mapping[str, Path], notes: list[str], results: Path
) -> Path:
    """Write the run directory, config.json last; its name tells the files, so that importing again changes nothing."""
    hashes = {kind: hashlib.sha256(path.read_bytes()).hexdigest() for kind, path in files.items()}
    key, epoch = digest([*hashes.values()], config.identity)[:8], re.match(r"epoch_(\d+)\.", files["generator"].name)
    name = f"{config.data.name}-{VARIANT}-k{config.generator.parts}-s{config.seed}-{key}"
    directory = results / SCALE / "runs" / name
    weights = {file: save_weights(directory / file, module) for file, module in modules.items()}
    write_json(directory / PROVENANCE, origin(torch.device("cpu")) | {
        "imported": {kind: {"file": path.name, "sha256": hashes[kind]} for kind, path in files.items()},
        "epoch": int(epoch[1]) if epoch else None, "steps": None, "notes": notes, "overrides": {}, "key": key,
        "data": config.data.name, "parts": config.generator.parts, "seed": config.seed, "scale": SCALE,
        "variant": VARIANT, "finished": now(), "weights": weights,
    })  # fmt: skip
    write_json(directory / CONFIG, {"config": config.model_dump(), "variant": VARIANT, "scale": SCALE})
    return directory
