"""Light pages: an extension of Sphinx. Formulas are MathML, which needs no script, and pictures load when seen."""

from __future__ import annotations

import base64
import hashlib
import html
import re
import unicodedata
from pathlib import Path
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from PIL import Image
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number

VARIANT = re.compile(r'<(m[in]) mathvariant="(bold|bold-italic|script|double-struck)">([^<]+)</\1>')
PICTURE = re.compile(r'(<img [^>]*src=")data:image/png;base64,([^"]+)("[^>]*)>')
SIGN = re.compile(r"((?:[(\[]|&#x00(?:028|02C|03D);)</mo>)<mo>(?=&#x02212;)")  # a minus that follows an operator
UPRIGHT = re.compile(r'(?:<mi mathvariant="normal">[^<]*</mi>){2,}')


def styled(match: re.Match[str]) -> str:
    """Letters by characters of their own: of `mathvariant` browsers know nothing but "normal"."""
    kind, style, text = match.groups()
    style, found = style.upper().replace("BOLD-", "BOLD "), []
    for letter in html.unescape(text):
        name = f"{style} {re.sub('LATIN |GREEK |LETTER ', '', unicodedata.name(letter))}"
        try:
            found.append(unicodedata.lookup(f"MATHEMATICAL {name}"))
        except KeyError:  # Unicode had some before it had whole alphabets
            found.append(unicodedata.lookup(name))
    return f"<{kind}>{''.join(found)}</{kind}>"


def mathml(latex: str, display: str = "inline") -> str:
    """MathML of a formula."""
    latex = latex.replace(r"\!", "").replace("{aligned}", "{split}")
    text = VARIANT.sub(styled, convert(latex, display=display)).replace(r"\_", "_")
    text = SIGN.sub(r'\1<mo form="prefix">', text)
    for mark, how in (("&#x02016;", 'stretchy="false"'), ("&#x0002F;", 'lspace="0" rspace="0"')):
        text = text.replace(f"<mo>{mark}", f"<mo {how}>{mark}")
    return UPRIGHT.sub(lambda word: f'<mi mathvariant="normal">{re.sub("<[^>]*>", "", word[0])}</mi>', text)


def visit(translator: Any, node: Any) -> None:
    """Write a formula, a displayed one with its number; what is not understood is warned of."""
    inline = isinstance(node, nodes.math)
    text = mathml(node.astext(), "inline" if inline else "block")
    if "\\" in text:
        logging.getLogger(__name__).warning("no MathML for %s", node.astext(), location=node)
    translator.body.append(translator.starttag(node, "span" if inline else "div", "", CLASS="math notranslate"))
    if not inline and node["number"]:
        translator.body.append(f'<span class="eqno">({get_node_equation_number(translator, node)})')
        translator.add_permalink_ref(node, "Link to this equation")
        translator.body.append("</span>")
    translator.body.append(f"{text}</span>" if inline else f"{text}</div>\n")
    raise nodes.SkipNode


def unpack(app: Any, pagename: str, template: str, context: dict[str, Any], *_: Any) -> None:
    """Handler of Sphinx: the pictures inside a page become files, which it loads when they come near, and links to."""
    folder = Path(app.outdir) / "_images"
    folder.mkdir(exist_ok=True)

    def file(match: re.Match[str]) -> str:
        content = base64.b64decode(match[2])
        path = folder / f"{hashlib.sha256(content).hexdigest()[:16]}.png"
        path.write_bytes(content)
        address, (width, height) = context["pathto"](f"_images/{path.name}", 1), Image.open(path).size
        shown = f'{match[1]}{address}{match[3]} loading="lazy" width="{width}" height="{height}">'
        return f'<a class="ganseg-enlarge" href="{address}">{shown}</a>'

    context["body"] = PICTURE.sub(file, context.get("body", ""))


def setup(app: Any) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("html-page-context", unpack)
    app.add_html_math_renderer("mathml", (visit, None), (visit, None))
    return {"parallel_read_safe": True}
