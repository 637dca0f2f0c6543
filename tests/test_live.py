"""The live figure: what the page computes equals PyTorch's, and it can be used by pointer, keyboard and phone."""

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from browser import Page
from conftest import ROOT, tracked
from finished_runs import write_run, write_samples
from PIL import Image
from wasmtime import wat2wasm

from book import live
from ganseg.config import Config
from ganseg.files import UserError
from ganseg.generator import Generator, Noise
from ganseg.loop import save_weights
from ganseg.pictures import sample_sheet
from ganseg.runs import Run
from ganseg.segmenter import Segmenter

# Widths that are no multiples of 8, unequal blocks, two kernels and strides.
MODELS = {
    "flowers": {
        "data.size": 24, "generator.block_sizes": "12,12,24", "generator.block_widths": "12,12,10",
        "generator.margin": 2, "generator.rgb_kernel": 3, "segmenter.width": 6, "segmenter.output_stride": 4,
    },
    "synthetic-bird": {
        "data.size": 16, "generator.block_sizes": "8,16", "generator.block_widths": "16,8",
        "generator.margin": 1, "generator.rgb_kernel": 1, "segmenter.width": 4, "segmenter.output_stride": 2,
    },
}  # fmt: skip
COMMON = {
    "generator.parts": 3, "generator.points_per_part": 3, "generator.noise_dim": 12,
    "generator.embedding_dim": 10, "generator.spade_hidden": 6, "segmenter.backbone": "resnet18-light",
    "optim.steps": 5678,
}  # fmt: skip
FOLDERS = {path.parent for path in tracked("results/*/runs/*/generator.safetensors")}
SHIPPED = [run.directory for run in live.models(ROOT / "results") if run.directory in FOLDERS]


def random_run(results: Path, data: str, settings: dict[str, Any]) -> Run:
    """A run of random networks, statistics of BatchNorm included."""
    config = Config().replace(COMMON | settings | {"data.name": data})
    directory = write_run(results, data=data, parts=3, key="0", train_images=1234, config=config.model_dump())
    torch.manual_seed(0)
    networks = {"generator": Generator(config.generator), "segmenter": Segmenter(config.segmenter, 3)}
    networks["generator"].point_generator.points[-1].weight.data *= 3
    networks["generator"].composition.convs[-1].weight.data *= 0.1  # colours near [-1, 1], as trained ones are
    for name, network in networks.items():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.5)
                module.running_var.uniform_(0.5, 2)
                if module.affine:
                    torch.nn.init.uniform_(module.weight, 0.5, 1.5)
                    torch.nn.init.normal_(module.bias, 0, 0.3)
        save_weights(directory / f"{name}.safetensors", network)
    images = np.zeros((4, config.data.size, config.data.size, 3), np.uint8)
    write_samples(directory, images[..., 0])
    sample_sheet(images, images[..., 0], directory / "segmentation.png", images[..., 0])
    return Run(directory)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    results = tmp_path_factory.mktemp("results")
    return {name: random_run(results, name, MODELS[name]) for name in MODELS}


def write_page(results: Path, folder: Path) -> Path:
    """A page with nothing but the figure."""
    shutil.copytree(ROOT / "book" / live.FOLDER, folder / live.FOLDER)
    live.stage(results, folder / live.FOLDER)
    html = (folder / live.FOLDER / "figure.html").read_text().replace("ADDRESS", live.FOLDER)
    style = f'<link rel="stylesheet" href="{live.FOLDER}/live.css"><meta name="viewport" content="width=device-width">'
    page = folder / "page.html"
    page.write_text(f"<!doctype html><meta charset=utf-8><title>page</title>{style}<body>{html}</body>")
    return page


@pytest.fixture(scope="module")
def site(runs: dict[str, Run], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_page(runs["flowers"].directory.parents[2], tmp_path_factory.mktemp("site"))


FIGURE = "document.querySelector('.ganseg-live')"
SECOND = f"(({{ menu }}) => {{ menu.selectedIndex = 1; menu.onchange(); }})({FIGURE}.live)"  # of the menu's models
MASKS = f"[...{FIGURE}.live.scene.masks]"


def start(tab: Page, site: Path, address: str = "", **size: int) -> None:
    tab.open(site.as_uri() + address, **size)
    if not address:
        tab.script("document.querySelector('.live-start').focus(), document.querySelector('.live-start').click()")
    tab.until(f"!!{FIGURE}.live.scene")


# ---- what is computed


def test_the_kernel_is_what_its_source_says() -> None:
    """But for the names of its variables, which an assembler writes at the end."""
    folder = ROOT / "book" / live.FOLDER
    assert bytes(wat2wasm((folder / "kernel.wat").read_text())).startswith((folder / "kernel.wasm").read_bytes())


def test_the_scripts_are_strict_short_and_ask_no_other_host() -> None:
    scripts = [path.read_text() for path in sorted((ROOT / "book" / live.FOLDER).glob("*.js"))]
    assert len(scripts) == 3 and sum(text.count("\n") for text in scripts) <= 600
    for text in scripts:
        assert '\n"use strict";\n' in text and not re.search(r"\b(var|eval|fetch|console|import)\b|//\w", text)
        assert max(map(len, text.splitlines())) <= 120


COMPUTE = """(async () => {
  const figure = document.querySelector('.ganseg-live').live, name = %s, given = %s;
  for (const script of ['kernel', 'runtime', 'networks', `${name}.generator`, `${name}.segmenter`]) {
    await new Promise((onload, onerror) => document.head.append(
      Object.assign(document.createElement('script'), { src: `_static/live/${script}.js`, onload, onerror })));
  }
  if (given.plain) ganseg.kernel = '';
  const model = figure.models.find((known) => known.name === name), { networks } = ganseg;
  const generator = new ganseg.Generator(model, networks[`${name}.generator`]);
  generator.background(given.background, given.position);
  const scene = generator.scene(generator.points(given.point), generator.embeddings(given.appearance));
  const segmenter = new ganseg.Segmenter(model, networks[`${name}.segmenter`]);
  const found = { ...scene, segmentation: segmenter.probabilities(scene.image.map((value) => 127.5 * (value + 1))) };
  const names = ['masks', 'foreground', 'background', 'image', 'segmentation'];
  return { fast: !!generator.kernel, ...Object.fromEntries(names.map((key) => [key, [...found[key]]])) };
})()"""


@torch.no_grad()
def compare(tab: Page, folder: Path, run: Run, plain: bool) -> None:
    generator, name = run.generator(), run.config.data.name
    noise = generator.noise(1, torch.Generator().manual_seed(3))
    scene = generator(noise)
    paint = lambda share: generator.composition(torch.full_like(scene.masks, share), scene.foreground, scene.background)
    expected = {"masks": scene.masks, "foreground": paint(0.0), "background": paint(1.0), "image": scene.image}
    tab.open((folder / "page.html").as_uri())
    given = {key: values[0].tolist() for key, values in zip(Noise._fields, noise, strict=True)} | {"plain": plain}
    found = tab.script(COMPUTE % (json.dumps(name), json.dumps(given)))
    assert found["fast"] is not plain
    seen = torch.tensor(found["image"]).view(1, run.config.data.size, -1, 3).permute(0, 3, 1, 2)
    expected["segmentation"] = run.segmenter()(seen).softmax(dim=1)  # of the image alone, without its mirror image
    for key, values in expected.items():
        assert np.ptp(found[key]) > 0.05, f"{key} is all alike"
        np.testing.assert_allclose(found[key], values[0].permute(1, 2, 0).flatten(), rtol=0, atol=1e-2, err_msg=key)


@pytest.mark.parametrize("plain", [False, True], ids=["wasm", "javascript"])
@pytest.mark.parametrize("name", MODELS)
def test_a_page_computes_what_pytorch_does(tab, site, runs, name, plain):
    compare(tab, site.parent, runs[name], plain)


@pytest.mark.parametrize("directory", SHIPPED, ids=lambda path: path.name)
def test_a_shipped_model_computes_what_pytorch_does(tab: Page, tmp_path: Path, directory: Path) -> None:
    run = Run.open(directory)
    shutil.copytree(directory, tmp_path / "laptop" / "runs" / directory.name)
    (tmp_path / "models.yml").write_text(f"one: {{run: laptop/{directory.name}, licence: MIT, live: true}}")
    folder = write_page(tmp_path, tmp_path / "site").parent
    assert (folder / live.FOLDER / f"{run.config.data.name}.generator.js").stat().st_size < 1.4e6  # with scripts 1.5
    compare(tab, folder, run, plain=False)


def test_of_each_data_set_the_model_that_is_called_live_runs_or_else_the_papers_of_the_usual_k() -> None:
    assert SHIPPED[0] == Run.find("flowers-64").directory
    assert len(SHIPPED) > 2 and not [path.name for path in SHIPPED[1:] if "-paper-k6-" not in path.name]


SPEED = """(() => {
  const name = 'synthetic-bird.generator', net = new ganseg.Layers({}, ganseg.networks[name]), { kernel } = net;
  const layer = 'foreground_generator.blocks.0.conv1', x = net.image('large', 48, net.shapes[layer][1]);
  const least = () => Math.min(...Array.from({ length: 6 }, () => {
    const start = performance.now();
    for (let i = 0; i < 4; i++) net.conv(layer, x);
    return performance.now() - start;
  }));
  const fast = least();
  net.kernel = null;
  return least() / fast;
})()"""


def test_the_kernel_is_several_times_as_fast_as_plain_javascript(tab: Page, site: Path) -> None:
    start(tab, site)
    tab.script(SECOND)
    tab.until("'synthetic-bird.generator' in ganseg.networks")
    assert tab.script(SPEED) > 3


def test_a_model_that_a_page_cannot_compute_is_refused_by_name(tmp_path: Path) -> None:
    wrong = {"generator.heatmap": "cone", "segmenter.backbone": "resnet50", "segmenter.output_stride": 8}
    config = Config().replace(COMMON | MODELS["flowers"] | wrong)
    run = Run(write_run(tmp_path, config=config.model_dump()))
    with pytest.raises(UserError, match=r"generator\.heatmap=gaussian.*segmenter\.backbone=resnet18-light"):
        live.export(run, tmp_path)


# ---- what is shown


def test_the_figure_stands_still_until_it_is_asked_and_then_lists_its_models(tab: Page, site: Path) -> None:
    tab.open(site.as_uri())
    loaded = "[...document.scripts].map((script) => script.src.split('/').pop())"
    assert tab.script(loaded) == ["figure.js"]
    start(tab, site)
    assert tab.script(f"[...{FIGURE}.querySelectorAll('option')].map((o) => o.textContent)") == [
        "Oxford Flowers-102", "Synthetic birds",
    ]  # fmt: skip
    own = ["figure.js", "flowers.generator.js", "kernel.js", "networks.js", "runtime.js"]
    assert sorted(tab.script(loaded)) == own
    about = tab.script(f"{FIGURE}.querySelector('.live-about').textContent")
    assert about.startswith("24 px, trained on Oxford Flowers-102 (1,234 images, 5,678 steps, scale laptop).")


def test_dragging_a_centre_moves_its_mask_and_leaves_the_background(tab: Page, site: Path) -> None:
    start(tab, site)
    part = "({ places: [{ x, y, sigma }], background }) => [x, y, sigma, [...background]]"
    state = f"({part})({FIGURE}.live.scene)"
    box = f"(({{ x, y, width }}) => [x, y, width])({FIGURE}.live.views.points.getBoundingClientRect())"
    (x, y, sigma, background), masks, (left, top, width) = tab.script(state), tab.script(MASKS), tab.script(box)
    at = lambda u, v: (left + (u + 1) / 2 * width, top + (v + 1) / 2 * width)
    tab.mouse(("Pressed", *at(x, y)), ("Moved", *at(x + 0.2, y - 0.1)), ("Released", *at(x + 0.2, y - 0.1)))
    tab.until(f"Math.abs({FIGURE}.live.scene.places[0].x - {x}) > 0.1")
    moved = tab.script(state)
    assert moved[:3] == pytest.approx([x + 0.2, y - 0.1, sigma], abs=0.02) and moved[3] == background
    assert np.abs(np.subtract(tab.script(MASKS), masks)).max() > 0.05
    ring = moved[0], moved[1] + sigma
    tab.mouse(("Pressed", *at(*ring)), ("Moved", *at(ring[0], ring[1] + sigma)), ("Released", *at(0, 0)))
    tab.until(f"{FIGURE}.live.scene.places[0].sigma > {1.5 * sigma}")
    assert tab.script(state)[:2] == pytest.approx(moved[:2], abs=1e-6)


def test_keys_move_and_scale_a_part_say_so_and_the_address_brings_it_back(tab: Page, site: Path) -> None:
    start(tab, site)
    place = f"(({{ x, y, sigma }}) => [x, y, sigma])({FIGURE}.live.scene.places[1])"
    before = tab.script(place)
    tab.press("Tab")  # from the first part to its colour
    tab.press("Tab")
    for key in ("ArrowRight", "ArrowDown", "+"):
        tab.press(key)
    said = tab.until(f"location.hash.includes(':1_') && {FIGURE}.querySelector('[role=status]').textContent")
    after = tab.script(place)
    assert after == pytest.approx([before[0] + 0.04, before[1] + 0.04, before[2] * 1.1], abs=1e-4)
    assert said.startswith(f"Part 2: centre {after[0]:.2f} across, {after[1]:.2f} down, scale {after[2]:.2f}")
    address, masks = tab.script("location.hash"), tab.script(MASKS)
    start(tab, site, address)
    np.testing.assert_allclose(tab.script(MASKS), masks, atol=2e-3)


def test_buttons_change_what_they_say_and_nothing_else(tab: Page, site: Path) -> None:
    start(tab, site)
    texts = "(scene) => Object.fromEntries(Object.entries(scene).map(([key, value]) => [key, JSON.stringify(value)]))"
    scene = f"({texts})({FIGURE}.live.scene)"
    first = before = tab.script(scene)
    for act, kept in (("background", {"masks", "foreground", "points"}), ("appearance", {"background", "points"}),
                      ("points", {"background"})):  # fmt: skip
        tab.script(f"window.old = {FIGURE}.live.scene; document.querySelector('[data-act={act}]').click()")
        tab.until(f"{FIGURE}.live.scene !== window.old")
        after = tab.script(scene)
        assert {key for key in ("masks", "foreground", "background", "points") if after[key] == before[key]} == kept
        before = after
    tab.script(f"window.old = {FIGURE}.live.scene; document.querySelector('[data-act=reset]').click()")
    tab.until(f"{FIGURE}.live.scene !== window.old")
    assert tab.script(scene) == first


def test_a_photograph_of_ones_own_is_segmented(tab: Page, site: Path, runs: dict[str, Run], tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)
    Image.fromarray(picture).save(tmp_path / "own.png")
    start(tab, site)
    tab.choose("input[type=file]", tmp_path / "own.png")
    status = f"{FIGURE}.querySelector('[role=status]').textContent"
    said = tab.until(f"{status}.startsWith('Parts cover') && {status}")
    tensor = torch.from_numpy(picture / np.float32(127.5) - 1).permute(2, 0, 1)[None]
    with torch.no_grad():
        share = 1 - runs["flowers"].segmenter().probabilities(tensor)[0, 0].mean().item()
    assert abs(int(said.split()[2]) - 100 * share) <= 1 and "24 px, trained on Oxford Flowers-102" in said
    (tmp_path / "none.png").write_text("no picture")
    tab.choose("input[type=file]", tmp_path / "none.png")
    tab.until(f"{status}.startsWith('The photograph cannot be segmented')")


def test_a_photograph_of_the_page_is_segmented_by_the_model_of_its_data(tab: Page, site: Path) -> None:
    start(tab, site)
    tab.script(SECOND)
    tab.until(f"{FIGURE}.live.model.name !== 'flowers'")
    tab.script("document.querySelector('.ganseg-live details').open = true")
    assert tab.script("document.querySelectorAll('.live-photos button').length") == 4
    tab.script("document.querySelector('.live-photos button').click()")
    tab.until(f"{FIGURE}.querySelector('[role=status]').textContent.startsWith('Parts cover')")
    assert tab.script(f"{FIGURE}.live.model.name") == "flowers"
    assert tab.script("document.querySelector('[data-view=found]').checkVisibility()")


def test_on_a_phone_nothing_sticks_out_and_another_model_is_chosen(tab: Page, site: Path) -> None:
    start(tab, site, width=375, height=700)
    assert tab.script("document.documentElement.scrollWidth") <= 375
    tab.script(SECOND)
    tab.until(f"{FIGURE}.live.scene.masks.length === 16 * 16 * 4")
    assert tab.script(f"{FIGURE}.querySelectorAll('.live-parts button').length") == 3


def test_the_directive_shows_the_figure_on_a_page_in_a_folder_and_brings_its_script(tab, site, monkeypatch):
    deep = site.parent / "notebooks" / "asked.html"
    monkeypatch.setattr(live.Live, "env", SimpleNamespace(srcdir=site.parent, docname="notebooks/asked"))
    (node,) = object.__new__(live.Live).run()
    deep.parent.mkdir()
    deep.write_text(node.astext())
    start(tab, deep)
    settings = SimpleNamespace(html_js_files=["live/figure.js", "theme.js"])
    live.only_asked(None, settings)  # scripts that jupyter-book would put into every page
    assert settings.html_js_files == ["theme.js"]


def test_without_javascript_there_is_a_strip_with_its_caption_and_no_button(tab: Page, site: Path) -> None:
    tab.open(site.as_uri(), scripts=False)
    count = "document.querySelectorAll('.ganseg-live :is(%s)').length"
    assert tab.script(count % "img, figcaption") == 2 and tab.script(count % "button, canvas") == 0
