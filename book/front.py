"""What the landing page and README show of the results: a picture and three numbers, computed and never typed."""

import re
from pathlib import Path

from PIL import Image

from ganseg import ledger, tables
from ganseg.data import describe
from ganseg.files import atomic_path
from ganseg.pictures import HEAD, save, sheet
from ganseg.runs import Run

DATA = ("flowers", "synthetic-bird")  # those that the numbers speak of; the picture is of the first that has runs
PICTURE = "front.png"
README = re.compile(r"(<!-- front.*?-->\n).*?(<!-- /front -->)", re.DOTALL)


def coverage(results: Path, data: str) -> str:
    """Foreground IoU on `data`, beside the paper's and what is reached without learning, as Markdown."""
    runs, title = tables.headline(results, data), describe(data).title
    if not runs:
        return f"**{tables.BLANK}** No run on {title} is among the results."
    ours, first = tables.summarise(runs, "iou"), runs[0].metrics
    ious, size = sorted(run.metrics["iou"] for run in runs), runs[0].config.data.size
    masks = f", on the {first['iou_images']} images with a mask" * (first["iou_images"] < first["test_images"])
    seeds = f"mean of {len(ious)} seeds, {ious[0]:.3f} to {ious[-1]:.3f}" if len(ious) > 1 else "one seed"
    paper = f"The paper, at 128 px{', on other masks' * bool(masks)}: "
    paper = f"{paper}{tables.TABLE_2.value(data):.3f}. " if data in tables.TABLE_2.columns else ""
    beyond = tables.headline(results, data, "plus")
    plus = f"; our variant `plus` {tables.summarise(beyond, 'iou')['mean']:.3f}" if beyond else ""
    text = f"**{ours['mean']:.3f}** foreground IoU on {title}, {seeds}, at {size} px{masks}{plus}. "
    return f"{text}{paper}Without learning: {tables.unlearned(runs)}."


def claims(results: Path) -> str:
    """How many claims of the paper have which verdict, as Markdown."""
    verdicts = list(ledger.evaluate_claims(results)["verdict"])
    others = [ledger.CONTRADICTED, ledger.UNDECIDED, ledger.UNTESTED]
    told = ", ".join(f"{verdicts.count(word)} {word.lower()}" for word in others)
    return f"**{verdicts.count(ledger.REPRODUCED)} of {len(verdicts)}** claims of the paper reproduced; {told}."


def picture(run: Run) -> Image.Image:
    """Six held-out images of a run, and below each the parts found in it."""
    rows = tables.sheet_of(run)
    drawn = sheet({name: rows[name][:6] for name in ("image", "both")})
    return drawn.crop((0, HEAD, *drawn.size))


def facts(results: Path, folder: Path) -> dict[str, str]:
    """Texts of the landing page by name, as Markdown; `picture`, written into `folder`, and `caption` may be empty.

    The picture is of the run of median IoU, of the seeds that speak for the first data set that has a sheet.
    """
    texts = dict(zip(("flowers", "birds"), (coverage(results, data) for data in DATA), strict=True))
    texts |= {"claims": claims(results), "caption": "", "picture": ""}
    chosen = (tables.middle(runs) for data in DATA if (runs := tables.headline(results, data)))
    if run := next(filter(tables.sheet_of, chosen), None):
        data, record = describe(run.config.data.name), run.provenance
        about = f"Six held-out images of {data.title}"
        alt = f"{about}; below, the parts that were found in them in colours."
        told = f"{about} and their parts, found without a label: scale {record['scale']}, seed {record['seed']}"
        terms = f" Terms: {data.licence}" if data.licence else ""
        texts["picture"] = f"![{alt}]({folder.name}/{save(picture(run), folder / PICTURE).name})"
        texts["caption"] = f"{told}, the one of median IoU.{terms}"
    return texts


def stage(results: Path, folder: Path) -> dict[str, str]:
    """Substitutions for the landing page, whose picture is written into `folder`."""
    texts = facts(results, folder)
    below = f":::{{container}} ganseg-below\n{texts['caption']}\n:::"
    return texts | {"picture": f"{texts['picture']}\n\n{below}" if texts["picture"] else ""}


def front(root: Path = Path()) -> None:
    """Compute README's picture and numbers again, from ROOT/results."""
    texts, path = facts(root / "results", root / "results"), root / "README.md"
    cells = " | ".join(texts[name] for name in ("flowers", "birds", "claims"))
    shown = f"{texts['picture']}\n\n{texts['caption']}\n\n" if texts["picture"] else ""
    table = f"| Photographs | Drawn birds | Claims |\n|---|---|---|\n| {cells} |\n"
    text = README.sub(lambda found: f"{found[1]}{shown}{table}{found[2]}", path.read_text(encoding="utf-8"))
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
