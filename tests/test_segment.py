"""Photographs in, part masks out: with a hand-made network whose right answers are known."""

import json
import weakref
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from ganseg.data.images import open_rgb
from ganseg.files import UserError
from ganseg.pictures import COLOURS
from ganseg.segment import find_photographs, full_size_labels, measure_parts, segment_images

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
    """A folder of three images, one of them in a folder below and stored on its side, and of things that are none."""
    folder, exif = tmp_path / "photographs", Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    (folder / "below").mkdir(parents=True)
    scene(200, 100).save(folder / "wide.png")
    tall = scene(64, 128).transpose(Image.Transpose.ROTATE_90)
    tall.save(folder / "below" / "tall.JPG", quality=95, exif=exif)
    scene(16, 16).save(folder / "tiny.bmp")
    (folder / "broken.jpg").write_bytes(b"not an image")
    (folder / "notes.txt").write_text("no image")
    return folder


def test_masks_overlays_and_parts_of_upright_images_are_written_under_their_names(run, photographs, tmp_path):
    told, out = segment_images(run, [photographs], tmp_path / "out", device="cpu"), tmp_path / "out"
    written = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    names = ("wide", "tiny", "below/tall")
    assert written == {"parts.json", *(f"masks/{n}.png" for n in names), *(f"overlays/{n}.jpg" for n in names)}
    mask = Image.open(out / "masks" / "wide.png")
    assert (mask.mode, mask.size) == ("P", (200, 100))
    labels = np.asarray(mask)
    assert set(np.unique(labels)) == {0, 1, 2} and (labels[:20] == 0).all()
    assert (labels[30:45, 5:90] == 1).all() and (labels[55:70, 110:195] == 2).all()
    turned = np.asarray(Image.open(out / "masks" / "below" / "tall.png"))
    assert turned.shape == (128, 64) and (turned[48, 10], turned[80, 50]) == (1, 2)
    coloured = np.asarray(mask.convert("RGB"))
    np.testing.assert_array_equal(coloured[[10, 38, 60], [10, 50, 150]], COLOURS[:3])
    assert json.loads((out / "parts.json").read_text()) == json.loads(json.dumps(told))
    assert [image["file"] for image in told["images"]] == ["below/tall.JPG", "tiny.bmp", "wide.png"]
    first, second, third = told["images"][2]["parts"]
    np.testing.assert_allclose([first["centre"], second["centre"]], [[49.5, 37], [149.5, 62]], atol=1)
    assert first["area"] == pytest.approx(1 / 8, abs=0.02)
    assert (third["centre"], third["area"], third["visible"]) == (None, 0.0, False)
    assert told["colours"][1] == "#" + bytes(COLOURS[1]).hex()
    assert [one["file"] for one in told["skipped"]] == ["broken.jpg"] and told["skipped"][0]["reason"]


def test_the_batch_size_does_not_change_the_results(run, photographs, tmp_path):
    batched = lambda size: segment_images(run, [photographs], tmp_path / "out", device="cpu", batch_size=size)
    assert batched(1) == batched(2) == batched(32)


def test_two_batches_at_most_are_in_memory_and_a_bad_file_costs_one_line(run, tmp_path, monkeypatch):
    opened, alive = [], []

    def watched(path: Path) -> Image.Image:
        image = open_rgb(path)
        opened.append(weakref.ref(image))
        alive.append(sum(one() is not None for one in opened))
        return image

    monkeypatch.setattr("ganseg.segment.open_rgb", watched)
    (tmp_path / "many").mkdir()
    for i in range(60):
        scene(20, 20).save(tmp_path / "many" / f"{i}.png")
    (tmp_path / "many" / "7.png").write_bytes(b"no image")
    told = segment_images(run, [tmp_path / "many"], tmp_path / "out", device="cpu", batch_size=4)
    assert (len(told["images"]), [one["file"] for one in told["skipped"]]) == (59, ["7.png"]) and max(alive) <= 8


def test_files_of_one_stem_and_folders_alike_get_names_of_their_own(tmp_path):
    for file in ("one/a.jpg", "one/a.png", "one/A.bmp", "one/a-2.png", "two/a.png", "other/two/a.png"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        scene(16, 16).save(tmp_path / file)
    found = lambda *folders: find_photographs([tmp_path / f for f in folders], tmp_path / "out")[0]
    named = lambda *folders: [one.name for one in found(*folders)]
    assert named("one") == ["A", "a-2", "a-3", "a-4"]
    assert named("two", "other/two") == ["two/a", "two/a-2"]
    assert named("two/a.png", "other/two/a.png", "two/a.png") == ["a", "a-2"]
    assert [one.file for one in found("two/a.png", "other/two/a.png")] == ["a.png", str(tmp_path / "other/two/a.png")]


@pytest.mark.parametrize("out", [".", "results", "below/results"])
def test_results_inside_the_folder_of_images_are_refused(run, photographs, out):
    before = sorted(photographs.rglob("*"))
    with pytest.raises(UserError, match="Name a folder outside"):
        segment_images(run, [photographs], photographs / out, device="cpu")
    assert sorted(photographs.rglob("*")) == before


def test_masks_beside_photographs_are_left_out_and_one_that_cannot_be_written_ends_nothing(run, photographs, tmp_path):
    for file in ("masks/wide.png", "old/parts.json", "old/overlays/wide.png", "tiny_mask.png"):
        (photographs / file).parent.mkdir(exist_ok=True)
        scene(16, 16).save(photographs / file, "PNG")
    (tmp_path / "out" / "overlays" / "wide.jpg").mkdir(parents=True)
    told = segment_images(run, [photographs], tmp_path / "out", device="cpu")
    assert [one["file"] for one in told["images"]] == ["below/tall.JPG", "tiny.bmp"]
    assert [one["file"] for one in told["skipped"]] == ["broken.jpg", "wide.png"]
    labels, others, written = told["left_out"]
    assert "2 files look like labels of photographs (masks/wide.png, tiny_mask.png)" in labels
    assert "(notes.txt)" in others and "2 files are what" in written


@pytest.mark.parametrize("size", [(90, 200), (200, 65), (16, 16), (7, 5)])
def test_full_size_labels_are_those_of_bilinear_resizing_as_a_whole(size):
    torch.manual_seed(0)
    maps = torch.randn(1, 4, 16, 16).softmax(dim=1)
    whole = torch.nn.functional.interpolate(maps, size[::-1], mode="bilinear").argmax(dim=1)[0]
    np.testing.assert_array_equal(full_size_labels(maps[0].numpy(), size), whole.numpy())


def test_the_centre_of_a_part_is_in_pixels_of_the_photograph():
    probabilities = np.zeros((2, 4, 4))
    probabilities[1, 1, 3], probabilities[0] = 1, 0.4
    (part,) = measure_parts(probabilities, full_size_labels(probabilities, (40, 20)))
    assert part["centre"] == [34.5, 7.0]  # pixel (3, 1) of 4 x 4 covers x 30 to 39 and y 5 to 9
