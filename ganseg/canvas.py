"""Names of `plots` for those who still import them from here."""

from ganseg.plots import (  # noqa: F401
    FACE,
    INK,
    LINES,
    QUIET,
    WIDTH,
    dots,
    draw_parts,
    dress,
    hues,
    line_colours,
    new_figure,
    panels,
    picture,
)
