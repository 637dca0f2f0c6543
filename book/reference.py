"""The reference page: an extension of Sphinx with which autodoc reads this package's docstrings.

They are written as Markdown: `code`, $formulas$, lists, indented blocks as they stand. Fields are explained by the
comment on their line.
"""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from typing import Any

INLINE = re.compile(r"(?<!`)`([^`]+)`(?!`)|(?<![\w$])\$([^$]+)\$|(?<![\w*])\*(\w[\w -]*)\*|([*|\\]|(?<=\w)_(?!\w))")
LITERAL = ".. code-block:: text\n\n"


def to_rst(text: str) -> str:
    """reStructuredText of a docstring: `code`, $formulas$ and *emphasis*, indented blocks as they stand."""
    blocks = re.split(r"\n(?: *\n)+", text)
    return "\n\n".join(LITERAL + block if block.startswith("    ") else INLINE.sub(_role, block) for block in blocks)


def _role(found: re.Match[str]) -> str:
    """What a match of INLINE is in reStructuredText; other marks than those of Markdown are taken literally."""
    code, formula, emphasised, mark = found.groups()
    role = f"``{code}``" if code else f":math:`{formula}`" if formula else f"*{emphasised}*"
    return f"\\{mark}" if mark else f"\\ {role}\\ "  # an escaped space ends inline markup anywhere


def fields(cls: type) -> Iterator[str]:
    """A line "name: type = default: comment" for each annotated field of a class, the comment from the field's line."""
    source = textwrap.dedent(inspect.getsource(cls))
    for node in ast.parse(source).body[0].body:
        if isinstance(node, ast.AnnAssign):
            comment = source.splitlines()[node.end_lineno - 1][node.end_col_offset :].partition("#")[2].strip(": ")
            yield f"``{ast.unparse(node)}``" + (f": {to_rst(comment)}" if comment else "")


def _has_fields(what: str, found: Any) -> bool:
    return what == "class" and any(hasattr(found, name) for name in ("__dataclass_fields__", "_fields", "model_fields"))


def process_docstring(app: Any, what: str, name: str, found: Any, options: Any, lines: list[str]) -> None:
    """Handler of autodoc: rewrite a docstring in place, and append a class's fields."""
    lines[:] = [*to_rst("\n".join(lines)).splitlines(), ""]
    if _has_fields(what, found):
        lines += [f"- {line}" for line in fields(found)] + [""]


def process_signature(app: Any, what: str, name: str, found: Any, *_: Any) -> tuple[str, None] | None:
    """Handler of autodoc: fields are listed below a class, not in its signature."""
    return ("", None) if _has_fields(what, found) else None


def skip_member(app: Any, what: str, name: str, found: Any, skip: bool, options: Any) -> bool | None:
    """Handler of autodoc: fields of named tuples and models are no members to list again."""
    return True if type(found).__name__ == "_tuplegetter" or name.startswith("model_") else None


def setup(app: Any) -> dict[str, bool]:
    """Called by Sphinx."""
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("autodoc-process-docstring", process_docstring)
    app.connect("autodoc-process-signature", process_signature)
    app.connect("autodoc-skip-member", skip_member)
    return {"parallel_read_safe": True}
