"""Light pages, an extension of Sphinx: formulas need no script, pictures load when seen, the search finds numbers."""

import base64
import hashlib
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import parse_latex_math
from docutils.utils.math.mathml_elements import math
from PIL import Image
from sphinx.search.en import SearchEnglish
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number

FENCE = {"stretchy": "false"}
MARKS = {"‖": FENCE, "{": FENCE, "}": FENCE, "/": {"lspace": "0", "rspace": "0"}}  # set as TeX does
PICTURE = re.compile(r'(<img class="dark-light" src=")data:image/(png|webp);base64,([^"]+)("[^>]*)>')
THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}\b)")
NAMED = re.compile(r"\b(table|fig|eq)(?:ure|uation)?\.?\s?(\d+)", re.IGNORECASE)


def mathml(latex: str, display: str) -> str:
    r"""MathML of a formula; MathError where it is not understood. \big( and p' are taken for \bigl( and p^\prime."""
    root = math(xmlns="http://www.w3.org/1998/Math/MathML", display=display)
    parse_latex_math(root, re.sub(r"\\([bB]ig)\b", r"\\\1l", latex).replace("'", r"^\prime "))
    for node in root.iter():
        node.attrib |= MARKS.get(node.text, {})
    return root.toxml()


def visit(translator: Any, node: Any) -> None:
    """Write a formula, a displayed one with its number; what is not understood is warned of."""
    inline = isinstance(node, nodes.math)
    try:
        text = mathml(node.astext(), "inline" if inline else "block")
    except MathError as error:
        logging.getLogger(__name__).warning("no MathML for %s: %s", node.astext(), error, location=node)
        raise nodes.SkipNode from error
    tag, more = ("span", {}) if inline else ("div", {"tabindex": "0"})  # a long one scrolls by keys, too
    translator.body.append(translator.starttag(node, tag, "", CLASS="math notranslate", **more))
    if not inline and node["number"]:
        translator.body.append(f'<span class="eqno">({get_node_equation_number(translator, node)})')
        translator.add_permalink_ref(node, "Link to this equation")
        translator.body.append("</span>")
    translator.body.append(f"{text}</{tag}>")
    raise nodes.SkipNode


def unpack(app: Any, pagename: str, template: str, context: dict[str, Any], *_: Any) -> None:
    """Handler of Sphinx: the pictures inside a page become files, which it loads when they come near, and links to.

    Of references it drops roles that are deprecated.
    """

    def file(match: re.Match[str]) -> str:
        content = base64.b64decode(match[3])
        path = Path(app.outdir, "_images", f"{hashlib.sha256(content).hexdigest()[:16]}.{match[2]}")
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        address, (width, height) = context["pathto"](f"_images/{path.name}", 1), Image.open(path).size
        shown = f'{match[1]}{address}{match[4]} loading="lazy" width="{width}" height="{height}">'
        return f'<a class="ganseg-enlarge" href="{address}">{shown}</a>'

    body = re.sub(' role="(list|doc-biblioentry)"', "", context.get("body", ""))
    context["body"] = PICTURE.sub(file, body)


class Search(SearchEnglish):
    """Its words are also numbers such as 0.795 or 6,149, and names such as "Table 2"."""

    js_splitter_code = Path(__file__).with_name("_static").joinpath("scripts", "split.js").read_text()

    def split(self, text: str) -> list[str]:
        words = re.findall(r"\w+(?:\.\d+)*", THOUSANDS.sub("", text))
        words = [f"no{word}" if word.isdigit() else word for word in words]  # Sphinx looks for no whole number
        return [" ".join(found) for found in NAMED.findall(text)] + words


def setup(app: Any) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_html_math_renderer("mathml", (visit, None), (visit, None))
    app.connect("html-page-context", unpack)
    app.add_search_language(Search)
    return {"parallel_read_safe": True}
