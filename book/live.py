"""The live figure: models that run in a reader's page (book/_static/live), and the directive `{live}` that shows them.

Pages that are opened as files can fetch nothing, so a model is two scripts: the weights of its generator and of its
segmentation network, as float16, with BatchNorm folded into the convolutions beside it.
"""

import base64
import copy
import html
import io
import itertools
import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from docutils import nodes
from PIL import Image
from sphinx.util.docutils import SphinxDirective
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ganseg import tables
from ganseg.config import Config, GeneratorConfig
from ganseg.data import describe
from ganseg.files import UserError, shipped_models
from ganseg.layers import Spade
from ganseg.pictures import COLOURS, sample_sheet
from ganseg.recipes import PARTS, SCALES
from ganseg.runs import Run, find_runs

FOLDER = "_static/live"
FIXED = "point_squash part_scale heatmap grid adain_norm use_points separate_background rgb_crop rgb_activation".split()
TOLD = "parts points_per_part noise_dim block_sizes margin background_shift size".split()


def fault(config: Config) -> str:
    """What the page asks of a model that `config` does not have; empty where there is nothing."""
    ours, usual = config.generator.model_dump(), GeneratorConfig().model_dump()
    wrong = [f"generator.{name}={usual[name]}" for name in FIXED if ours[name] != usual[name]]
    wrong += ["generator.rgb_kernel=1 or 3"] if ours["rgb_kernel"] > 3 else []
    light = config.segmenter.backbone == "resnet18-light" and config.segmenter.width % 2 == 0
    return ", ".join(wrong + ([] if light else ["segmenter.backbone=resnet18-light of an even width"]))


def folded(network: nn.Module) -> nn.Module:
    """A copy in eval mode without BatchNorm: the convolutions hold it, and those of SPADE's gamma hold 1 + gamma."""
    network = copy.deepcopy(network).eval()
    leaves = [(name, layer) for name, layer in network.named_modules() if not list(layer.children())]
    for (name, layer), (_, norm) in itertools.pairwise(leaves):
        if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d) and norm.affine:
            network.set_submodule(name, fuse_conv_bn_eval(layer, norm))
    for spade in (module for module in network.modules() if isinstance(module, Spade)):
        gamma, beta, mean = spade.gamma, spade.beta, spade.norm.running_mean
        factor = (spade.norm.running_var + spade.norm.eps).rsqrt()
        gamma.weight *= factor.view(-1, 1, 1, 1)
        gamma.bias.copy_((1 + gamma.bias) * factor)
        beta.weight -= gamma.weight * mean.view(-1, 1, 1, 1)
        beta.bias -= gamma.bias * mean
    return network


@torch.no_grad()
def script(name: str, network: nn.Module) -> str:
    """JavaScript that hands `network` over as ganseg.networks[name]: of each layer [kernel, inputs, outputs, copies],
    and all weights in this order and packed for kernel.wat, as base64 of float16.

    Points are where rounding would show most: linear layers come with a second copy, what rounding took from the first.
    """
    layers, pieces = {}, []
    for key, layer in folded(network).named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            weight, bias = layer.weight, layer.bias
        elif hasattr(layer, "constant"):  # w_k^const of Eq. 3, (K, D_emb), as a layer
            key, weight, bias = f"{key}.constant", layer.constant.T, None
        else:
            continue
        outputs, inputs, *kernel = weight.shape
        taps = weight.reshape(outputs, inputs, -1).permute(2, 1, 0).flatten(0, 1)  # (rows x columns x inputs, outputs)
        taps = torch.cat([taps.new_zeros(1, outputs) if bias is None else bias[None], taps])
        packed = F.pad(taps, (0, -outputs % 8)).unflatten(1, (-1, 8)).swapaxes(0, 1).flatten()  # blocks of 8 outputs
        layers[key] = [kernel[0] if kernel else 1, inputs, outputs, 1 if kernel else 2]
        pieces += [packed.half(), (packed - packed.half()).half()][: layers[key][-1]]
    data = base64.b64encode(torch.cat(pieces).numpy().astype("<f2")).decode()
    return f"ganseg.networks[{json.dumps(name)}] = {json.dumps({'layers': layers, 'weights': data})};\n"


def export(run: Run, folder: Path) -> dict[str, Any]:
    """Write the scripts of both networks of `run` into `folder`; what the page has to know. UserError, see `fault`."""
    config, record, sizes = run.config, run.provenance, {}
    if wrong := fault(config):
        raise UserError(f"{run.directory} cannot run in a page: that asks for {wrong}")
    for kind, network in (("generator", run.generator()), ("segmenter", run.segmenter())):
        path = folder / f"{config.data.name}.{kind}.js"
        sizes[kind] = path.write_text(script(path.stem, network))
    title, size = describe(config.data.name).title, config.data.size
    seen = f"{record['train_images']:,} images, {record['steps']:,} steps, scale {record['scale']}"
    once = " Here it looks at no mirror images." * config.plus.flip_at_test
    return {
        "name": config.data.name, "title": title, "about": f"{size} px, trained on {title} ({seen}).{once}",
        "size": size, "stride": config.segmenter.output_stride, "bytes": sizes,
        "generator": {name: getattr(config.generator, name) for name in TOLD},
        "colours": ["#" + bytes(colour).hex() for colour in COLOURS[: config.generator.parts + 1]],
    }  # fmt: skip


def models(results: Path) -> list[Run]:
    """Of each data set the first run that has weights and can run in a page; none of scale tiny.

    First come the shipped runs that models.yml calls live, then those of the paper's model, the usual K before others.
    """
    usual = lambda run: run.config.generator.parts == PARTS.get(run.config.data.name, 8)
    named = [Run.find(name, results) for name, told in shipped_models(results).items() if told["live"]]
    papers = (r for scale in list(SCALES)[:0:-1] for r in find_runs(results, scale, older=True, variant="paper"))
    found: dict[str, Run] = {}
    for run in [*named, *sorted(papers, key=usual, reverse=True)]:
        if run.has_weights and not fault(run.config):
            found.setdefault(run.config.data.name, run)
    return list(found.values())


def stage(results: Path, folder: Path) -> None:
    """Fill `folder` with the best model of each data set that ships weights, and with samples for everyone to see."""
    page, runs = folder / "figure.html", models(results)
    if not runs or not page.exists():
        return page.unlink(missing_ok=True)
    first, menu = runs[0], json.dumps([export(run, folder) for run in runs])
    sample_sheet(*(values[:8] for values in first.samples()), folder / "strip.png")
    kernel = base64.b64encode((folder / "kernel.wasm").read_bytes()).decode()
    (folder / "kernel.js").write_text(f'ganseg.kernel = "{kernel}";\n')
    title, size = describe(first.config.data.name).title, first.config.data.size
    caption = f"What a generator invented after training on {title} at {size} px, and its parts."
    text = page.read_text().replace("MODELS", html.escape(menu)).replace("CAPTION", html.escape(caption))
    page.write_text(text.replace("PHOTOGRAPHS", photographs(first)))


def photographs(run: Run) -> str:
    """Six held-out images of `run`, the page's first model, as buttons that segment them; and their terms."""
    size, data, buttons = run.config.data.size, describe(run.config.data.name), ""
    for number, pixels in enumerate(tables.sheet_of(run).get("image", [])[:6], start=1):
        Image.fromarray(pixels).resize((size, size), Image.Resampling.NEAREST).save(content := io.BytesIO(), "PNG")
        source = f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"
        image = f'<img src="{source}" alt="Held-out image {number}">'
        buttons += f'<button type="button" data-act="photograph">{image}</button>'
    terms = f"<small>{data.title}. Terms: {html.escape(data.licence)}</small>" if data.licence else ""
    return f'<section class="live-photos">{buttons}{terms}</section>'


class Live(SphinxDirective):
    """`{live}`: the live figure; nothing where no weights are shipped."""

    def run(self) -> list[nodes.Node]:
        """The figure as HTML, if `stage` left one."""
        page, here = Path(self.env.srcdir) / FOLDER / "figure.html", "../" * self.env.docname.count("/") + FOLDER
        return [nodes.raw("", page.read_text().replace("ADDRESS", here), format="html")] if page.exists() else []


def only_asked(app: Any, config: Any) -> None:
    """Handler of Sphinx: jupyter-book puts all scripts of _static into every page; some come when asked for."""
    config.html_js_files = [name for name in config.html_js_files if not str(name).startswith(("live/", "scripts/"))]


def setup(app: Any) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("live", Live)
    app.connect("config-inited", only_asked)
    return {"parallel_read_safe": True}
