"""Photographs in, part masks out: with a hand-made network whose right answers are known."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from ganseg.config import GeneratorConfig
from ganseg.files import UserError
from ganseg.generator import Generator
from ganseg.pictures import part_colours
from ganseg.segment import find_photographs, full_size_labels, generate, measure_parts, result_names, segment_images

RED, GREEN, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 0)


class ByColour(nn.Module):
    """Part 1 is red, part 2 is green, part 3 is never there; what is dark is background."""

    def probabilities(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) in [-1, 1] -> (B, 4, S, S)."""
        red, green = (images[:, :1] + 1) / 2, (images[:, 1:2] + 1) / 2
        nothing = torch.zeros_like(red)
        return torch.cat([1 - red - green, red, green, nothing], dim=1)


@pytest.fixture
def run(tmp_path) -> SimpleNamespace:
    """What `segment_images` needs of a run."""
    config = SimpleNamespace(data=SimpleNamespace(size=32), generator=SimpleNamespace(parts=3))
    return SimpleNamespace(config=config, directory=tmp_path / "a-run", segmenter=ByColour)


def scene(width: int, height: int) -> Image.Image:
    """Black, with a red box in the left half and a green one on the right, a quarter of the height each."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[height // 4 : height // 2, : width // 2] = RED
    pixels[height // 2 : 3 * height // 4, width // 2 :] = GREEN
    return Image.fromarray(pixels)


@pytest.fixture
def photographs(tmp_path) -> Path:
    """A folder of three images, one of them in a folder below, and of things that are none."""
    folder = tmp_path / "photographs"
    (folder / "below").mkdir(parents=True)
    scene(200, 100).save(folder / "wide.png")
    scene(64, 128).save(folder / "below" / "tall.JPG", quality=95)
    scene(16, 16).save(folder / "tiny.bmp")
    (folder / "broken.jpg").write_bytes(b"not an image")
    (folder / "notes.txt").write_text("no image")
    return folder


def test_masks_overlays_and_parts_are_written_under_the_names_of_the_images(run, photographs, tmp_path):
    done, out = segment_images(run, photographs, tmp_path / "out", device="cpu"), tmp_path / "out"
    written = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert written == {
        "parts.json", "masks/wide.png", "masks/tiny.png", "masks/below/tall.png",
        "overlays/wide.jpg", "overlays/tiny.jpg", "overlays/below/tall.jpg",
    }  # fmt: skip
    mask = Image.open(out / "masks" / "wide.png")
    assert (mask.mode, mask.size) == ("P", (200, 100))
    labels = np.asarray(mask)
    assert set(np.unique(labels)) == {0, 1, 2} and (labels[:20] == 0).all()
    assert (labels[30:45, 5:90] == 1).all() and (labels[55:70, 110:195] == 2).all()
    coloured = np.asarray(mask.convert("RGB"))
    np.testing.assert_array_equal(coloured[[10, 38, 60], [10, 50, 150]], part_colours(2))
    told = json.loads((out / "parts.json").read_text())
    assert [image["file"] for image in told["images"]] == ["below/tall.JPG", "tiny.bmp", "wide.png"]
    first, second, third = told["images"][2]["parts"]
    np.testing.assert_allclose([first["centre"], second["centre"]], [[49.5, 37], [149.5, 62]], atol=1)
    assert first["area"] == pytest.approx(1 / 8, abs=0.02)
    assert (third["centre"], third["area"], third["visible"]) == (None, 0.0, False)
    assert told["colours"]["1"] == "#" + bytes(part_colours(1)[1]).hex()
    ((file, reason),) = done.skipped
    assert told["skipped"] == [{"file": file, "reason": reason}] and file == "broken.jpg" and reason


@pytest.mark.parametrize("batch_size", [1, 2, 32])
def test_the_batch_size_does_not_change_the_results_and_progress_reaches_all_files(
    run, photographs, tmp_path, batch_size
):
    calls = []
    told = lambda *call: calls.append(call)
    done = segment_images(run, photographs, tmp_path / "out", device="cpu", batch_size=batch_size, progress=told)
    assert calls[-1] == (4, 4) and calls == sorted(calls) and len(done.images) == 3
    (tiny,) = (image for image in done.images if image["file"] == "tiny.bmp")
    assert tiny["parts"][0]["area"] == pytest.approx(1 / 8)


def test_a_photograph_on_its_side_is_turned_upright_first(run, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    scene(64, 128).transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    segment_images(run, tmp_path / "turned.jpg", tmp_path / "out", device="cpu")
    labels = np.asarray(Image.open(tmp_path / "out" / "masks" / "turned.png"))
    assert labels.shape == (128, 64) and (labels[48, 10], labels[80, 50]) == (1, 2)


def test_overlays_can_be_png_or_left_out(run, photographs, tmp_path):
    wide = photographs / "wide.png"
    done = segment_images(run, wide, tmp_path / "a", device="cpu", overlays="png")
    assert Image.open(tmp_path / "a" / done.images[0]["overlay"]).format == "PNG"
    done = segment_images(run, wide, tmp_path / "b", device="cpu", overlays="none")
    assert "overlay" not in done.images[0] and not (tmp_path / "b" / "overlays").exists()
    with pytest.raises(UserError, match="jpg, png, none"):
        segment_images(run, wide, tmp_path / "c", device="cpu", overlays="gif")


def test_files_of_one_stem_and_folders_alike_get_names_of_their_own(tmp_path):
    assert result_names(["a.jpg", "b/a.jpg", "b/a.png", "c.jpeg"]) == ["a", "b/a_jpg", "b/a_png", "c"]
    assert result_names(["A.png", "a.jpg"]) == ["A_png", "a_jpg"]
    names = result_names(["a.jpg", "a.png", "a_jpg.png", "A.JPG"])
    assert len({name.casefold() for name in names}) == 4 and "a_jpg" in names
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        scene(16, 16).save(tmp_path / folder / "a.png")
    found = find_photographs([tmp_path / "one", tmp_path / "two"], tmp_path / "out")
    assert [p.name for p in found] == ["one/a", "two/a"]


@pytest.mark.parametrize("out", [".", "results", "below/results"])
def test_results_inside_the_folder_of_images_are_refused(run, photographs, out):
    before = sorted(photographs.rglob("*"))
    with pytest.raises(UserError, match="Name a folder outside"):
        segment_images(run, photographs, photographs / out, device="cpu")
    assert sorted(photographs.rglob("*")) == before


def test_what_has_no_images_is_refused(run, photographs, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no images in .*empty.*\.jpg"):
        find_photographs(tmp_path / "empty", tmp_path / "out")
    with pytest.raises(UserError, match="is not there"):
        find_photographs(photographs / "missing.jpg", tmp_path / "out")
    with pytest.raises(UserError, match=r"none of the 1 images.*broken\.jpg"):
        segment_images(run, photographs / "broken.jpg", tmp_path / "out", device="cpu")
    with pytest.raises(OSError, match=r"notes\.txt"):
        segment_images(run, photographs / "wide.png", photographs / "notes.txt", device="cpu")


@pytest.mark.parametrize("size", [(90, 200), (200, 65), (16, 16), (7, 5)])
def test_full_size_labels_are_those_of_bilinear_resizing_as_a_whole(size):
    torch.manual_seed(0)
    maps = torch.randn(1, 4, 16, 16).softmax(dim=1)
    whole = torch.nn.functional.interpolate(maps, size[::-1], mode="bilinear").argmax(dim=1)[0]
    np.testing.assert_array_equal(full_size_labels(maps[0].numpy(), size), whole.numpy())


def test_the_centre_of_a_part_is_in_pixels_of_the_photograph():
    probabilities = np.zeros((2, 4, 4))
    probabilities[1, 1, 3], probabilities[0] = 1, 0.4
    labels = full_size_labels(probabilities, (40, 20))
    (part,) = measure_parts(probabilities, labels)
    assert part["centre"] == [34.5, 7.0]  # pixel (3, 1) of 4 x 4 covers x 30 to 39 and y 5 to 9


def test_generated_images_depend_on_their_seed_alone():
    small = {"noise_dim": 8, "embedding_dim": 8, "spade_hidden": 8, "margin": 2}
    made = Generator(GeneratorConfig(parts=2, block_sizes=(8, 16), block_widths=(16, 8), **small)).eval()
    run = SimpleNamespace(generator=lambda: made)
    images, labels = generate(run, 5, seed=3, device="cpu")
    assert (images.shape, labels.shape) == ((5, 16, 16, 3), (5, 16, 16))
    assert (images.dtype, labels.dtype) == (np.uint8, np.uint8)
    torch.randn(7)
    np.testing.assert_array_equal(generate(run, 5, seed=3, device="cpu")[0], images)
    assert (generate(run, 5, seed=4, device="cpu")[0] != images).any()
