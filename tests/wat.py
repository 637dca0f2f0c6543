"""An assembler of the WebAssembly text that book/_static/live/kernel.wat is written in: one module, one function.

`python tests/wat.py` writes kernel.wasm anew. Opcodes: WebAssembly core specification 2.0.
"""

import itertools
import re
from pathlib import Path
from typing import Any

LIVE = Path(__file__).resolve().parent.parent / "book" / "_static" / "live"
TYPES = {"i32": 0x7F, "f32": 0x7D, "v128": 0x7B}
# instruction -> its bytes
PLAIN = {
    "select": "1b", "i32.lt_u": "49", "i32.gt_s": "4a", "i32.ge_s": "4e",
    "i32.add": "6a", "i32.sub": "6b", "i32.mul": "6c",
    "f32x4.splat": "fd13", "f32x4.add": "fde401", "f32x4.mul": "fde601", "f32x4.max": "fde901",
}  # fmt: skip
LOCAL = {"local.get": "20", "local.set": "21", "local.tee": "22"}
MEMORY = {"v128.load": ("fd00", 4), "v128.load32_splat": ("fd09", 2), "v128.store": ("fd0b", 4)}  # log2 of alignment


def parse(text: str) -> list[Any]:
    """Nested lists of the words of an S-expression."""
    stack: list[list[Any]] = [[]]
    for word in re.findall(r'[()]|"[^"]*"|[^\s()]+', re.sub(r";;.*", "", text)):
        if word == "(":
            stack.append([])
        elif word == ")":
            stack[-2].append(stack.pop())
        else:
            stack[-1].append(word)
    return stack[0][0]


def leb(value: int, signed: bool = False) -> bytes:
    """LEB128 of a number that is not negative."""
    digits, limit = [], 64 if signed else 128
    while value >= limit:
        digits.append(value % 128 | 128)
        value //= 128
    return bytes([*digits, value])


def vector(items: list[bytes]) -> bytes:
    return leb(len(items)) + b"".join(items)


def sized(content: bytes) -> bytes:
    return leb(len(content)) + content


def code(node: list[Any], names: dict[str, int], labels: list[str]) -> bytes:
    """The bytes of a folded instruction: its operands first, then itself."""
    op, *rest = node
    if op == "loop":
        inner = [rest[0], *labels]
        return b"\x03\x40" + b"".join(code(child, names, inner) for child in rest[1:]) + b"\x0b"
    operands = b"".join(code(child, names, labels) for child in rest if isinstance(child, list))
    if op == "i32.const":
        return b"\x41" + leb(int(rest[0]), signed=True)
    if op == "br_if":
        return operands + b"\x0d" + leb(labels.index(rest[0]))
    if op in LOCAL:
        return operands + bytes.fromhex(LOCAL[op]) + leb(names[rest[0]])
    if op in MEMORY:
        opcode, align = MEMORY[op]
        offset = next((int(word[7:]) for word in rest if word[:7] == "offset="), 0)
        return operands + bytes.fromhex(opcode) + leb(align) + leb(offset)
    return operands + bytes.fromhex(PLAIN[op])


def assemble(text: str) -> bytes:
    """The binary of a module that imports one memory and exports one function without results."""
    (_, outer, inner, _), (_, (_, exported), *body) = parse(text)[1:]
    variables = [node for node in body if node[0] in ("param", "local")]
    names = {node[1]: i for i, node in enumerate(variables)}
    kinds = {kind: [TYPES[node[2]] for node in variables if node[0] == kind] for kind in ("param", "local")}
    name = lambda quoted: sized(quoted.strip('"').encode())
    grouped = [leb(len(list(group))) + bytes([kind]) for kind, group in itertools.groupby(kinds["local"])]
    instructions = b"".join(code(node, names, []) for node in body if node not in variables)
    sections = {
        1: b"\x60" + vector([bytes([kind]) for kind in kinds["param"]]) + vector([]),
        2: name(outer) + name(inner) + b"\x02\x00\x00",
        3: leb(0),
        7: name(exported) + b"\x00\x00",
        10: sized(vector(grouped) + instructions + b"\x0b"),
    }
    made = (bytes([number]) + sized(vector([content])) for number, content in sections.items())
    return b"\0asm\1\0\0\0" + b"".join(made)


if __name__ == "__main__":
    (LIVE / "kernel.wasm").write_bytes(assemble((LIVE / "kernel.wat").read_text()))
