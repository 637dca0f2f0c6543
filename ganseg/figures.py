"""Names of `plots` and `page` for those who still import them from here."""

from ganseg.page import say, show, show_table, verdict  # noqa: F401
from ganseg.plots import (  # noqa: F401
    blend,
    foreground_curves,
    foreground_history,
    image_rows,
    learning_curves,
    segmentation_figure,
)
