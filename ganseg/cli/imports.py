"""`ganseg import-released`: a run made of the authors' released files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from typer import Argument, Option

from ganseg.cli.config import Results


def import_released(
    checkpoint: Annotated[
        Path, Argument(metavar="CHECKPOINT", help="The generator's file, as checkpoints/epoch_29.model.")
    ],
    segmenter: Annotated[
        Path | None,
        Option("--segmenter", metavar="FILE", help="The segmentation network's file, as epoch_9.model."),
    ] = None,
    parameters: Annotated[
        Path | None,
        Option(
            "--parameters", metavar="FILE", show_default="looked for beside CHECKPOINT",
            help="The generator's parameters.json.",
        ),
    ] = None,
    data: Annotated[
        str | None,
        Option(metavar="NAME", show_default="what parameters.json says", help="Data set to evaluate on."),
    ] = None,
    parts: Annotated[
        int | None,
        Option(
            "--parts", "-K", min=1, metavar="K", show_default="the checkpoint's",
            help="Number of parts K; any other is refused.",
        ),
    ] = None,
    heatmap: Annotated[
        Literal["cone", "gaussian"] | None,
        Option(show_default="what parameters.json says, else cone", help="Heatmaps it was trained with."),
    ] = None,
    results: Results = None,
    name: Annotated[str | None, Option(metavar="NAME", help="Name of the run's folder.")] = None,
) -> None:  # fmt: skip
    """Make a run of the authors' released weights, to sample, segment and evaluate with.

    Reads tensors alone: whatever else a file holds is refused, not executed. The architecture follows from
    the tensors' shapes; parameters.json tells the rest and must agree.

    Example: [cyan]ganseg import-released log/gan_cub_k8/checkpoints/epoch_29.model --segmenter
    log/seg_cub_k8/checkpoints/epoch_9.model[/cyan]
    """
    from ganseg.released_runs import import_released as make_run

    imported = make_run(
        checkpoint, segmenter, parameters, data=data, parts=parts, heatmap=heatmap, results=results, name=name
    )
    for note in imported.notes:
        typer.secho(f"note: {note}", fg=typer.colors.YELLOW, err=True)
    print(imported.directory)
