"""The reference page: an extension of Sphinx that lets autodoc read this package's docstrings.

They are written as Markdown: `code`, $formulas$, lists, indented blocks as they stand. The fields of a
dataclass or named tuple are explained by the comment on their line. The directive `ganseg-commands` lists the
command line.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from typing import Any, NamedTuple

from docutils import nodes
from docutils.parsers.rst import Directive

INLINE = re.compile(r"(?<!`)`([^`]+)`(?!`)|(?<![\w$])\$([^$]+)\$|(?<![\w*])\*(\w[\w -]*)\*")
LITERAL = ".. code-block:: text\n\n"
BEFORE, AFTER = " \n-:/'\"<([{", " \n'\")]}>-/\\:.,;!?"  # what reStructuredText wants beside inline markup


class Field(NamedTuple):
    """A field of a dataclass or named tuple, as its line says it."""

    name: str
    type: str
    default: str
    comment: str


def to_rst(text: str) -> str:
    """reStructuredText of a docstring: `code`, $formulas$ and *emphasis*, indented blocks as they stand."""
    blocks = re.split(r"\n(?: *\n)+", text)
    return "\n\n".join(LITERAL + block if block.startswith("    ") else _inline(block) for block in blocks)


def _inline(text: str) -> str:
    """One paragraph or list: all other marks are taken literally."""
    pieces, end = [], 0
    for match in INLINE.finditer(text):
        code, formula, emphasised = match.groups()
        before, after = text[: match.start()][-1:], text[match.end() :][:1]
        role = f"``{code}``" if code else f":math:`{formula}`" if formula else f"*{emphasised}*"
        pieces += [_escaped(text[end : match.start()]), "\\ " * (before not in BEFORE), role]
        pieces.append("\\ " * (after not in AFTER))
        end = match.end()
    return "".join([*pieces, _escaped(text[end:])])


def _escaped(text: str) -> str:
    return re.sub(r"[*|\\]|(?<=\w)_(?!\w)", lambda mark: f"\\{mark[0]}", text)


def fields(cls: type) -> list[Field]:
    """The annotated fields of a class, in order, with the comments on their lines."""
    source = textwrap.dedent(inspect.getsource(cls))
    lines, found = source.splitlines(), []
    for node in ast.parse(source).body[0].body:
        if isinstance(node, ast.AnnAssign) and not ast.unparse(node.target).startswith("_"):
            comment = lines[(node.end_lineno or 1) - 1][node.end_col_offset :].partition("#")[2].strip()
            default = ast.unparse(node.value) if node.value else ""
            default = re.sub(r"field\(default_factory=([\w.]+).*\)", r"\1()", default)
            found.append(Field(ast.unparse(node.target), ast.unparse(node.annotation), default, comment))
    return found


def _has_fields(what: str, found: Any) -> bool:
    return what == "class" and (hasattr(found, "__dataclass_fields__") or hasattr(found, "_fields"))


def process_docstring(app: Any, what: str, name: str, found: Any, options: Any, lines: list[str]) -> None:
    """Handler of autodoc: rewrite a docstring in place, and append a class's fields."""
    lines[:] = to_rst("\n".join(lines)).splitlines() + [""]
    for field in fields(found) if _has_fields(what, found) else ():
        default = f" = {field.default}" if field.default else ""
        comment = f": {to_rst(field.comment)}" if field.comment else ""
        lines.append(f"- ``{field.name}: {field.type}{default}``{comment}")
    lines.append("")


def process_signature(app: Any, what: str, name: str, found: Any, *_: Any) -> tuple[str, None] | None:
    """Handler of autodoc: fields are listed below a class, not in its signature."""
    return ("", None) if _has_fields(what, found) else None


def skip_member(app: Any, what: str, name: str, found: Any, skip: bool, options: Any) -> bool | None:
    """Handler of autodoc: a named tuple's fields are no properties to list again."""
    return True if type(found).__name__ == "_tuplegetter" else None


def commands(group: Any, prefix: str) -> Iterator[tuple[str, str, list[str]]]:
    """(name, first paragraph of its help, its options) of every command below a click group."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{prefix} {name}")
        else:
            text = re.sub(r"\[/?[a-z ]+\]", "", inspect.cleandoc(command.help or "")).partition("\n\n")[0]
            names = [max(p.opts, key=len) for p in command.params if p.opts[0].startswith("-")]
            yield f"{prefix} {name}", " ".join(text.split()), names


class Commands(Directive):
    """Lists the commands of `ganseg`, each with what it does and the options that it takes."""

    def run(self) -> list[nodes.Node]:
        """One definition list."""
        from typer.main import get_command

        from ganseg.cli import app

        entries = nodes.definition_list()
        for name, text, options in commands(get_command(app), "ganseg"):
            marked = nodes.paragraph("", "Options: ")
            for number, option in enumerate(options):
                marked += [nodes.Text(", ")] * bool(number) + [nodes.literal(text=option)]
            term, body = nodes.term("", "", nodes.literal(text=name)), nodes.definition()
            body += [nodes.paragraph(text=text), *([marked] if options else [])]
            entries += nodes.definition_list_item("", term, body)
        return [entries]


def setup(app: Any) -> dict[str, bool]:
    """Called by Sphinx."""
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("autodoc-process-docstring", process_docstring)
    app.connect("autodoc-process-signature", process_signature)
    app.connect("autodoc-skip-member", skip_member)
    app.add_directive("ganseg-commands", Commands)
    return {"parallel_read_safe": True}
