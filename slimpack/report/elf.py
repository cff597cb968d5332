"""What is packed in a shared object, as values that JSON can hold and as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.text import Text

from slimpack.elf.layout import PF_X
from slimpack.elf.unpack import pruned as pruned_of
from slimpack.report.table import Column, table
from slimpack.report.text import render
from slimpack.report.words import mebibytes, safe

if TYPE_CHECKING:
    from slimpack.elf.packed import Packed


def account(packed: Packed, *, size: int) -> dict[str, Any]:
    """Returns what is raw, packed and pruned in a file, in bytes.

    Args:
        packed: What is packed in it.
        size: Bytes of the file.

    Raises:
        ElfError: Its packed part is damaged.
    """
    symbols, pruned = pruned_of(packed)
    ranges = []
    for one in packed.ranges:
        frames = packed.frames[one.first_block : one.first_block + one.blocks]
        ranges.append(
            {
                "address": one.address,
                "size": one.size,
                "stored": sum(map(len, frames)),
                "blocks": one.blocks,
                "block_size": one.block_size,
                "executable": bool(one.flags & PF_X),
                "moment": one.moment,
            }
        )
    return {
        "size": size,
        "raw": size - packed.stored,
        "stored": packed.stored,
        "loaded": packed.size,
        "pruned": pruned,
        "symbols": symbols,
        "ranges": ranges,
    }


def text(found: dict[str, Any], *, name: str, width: int, color: bool) -> str:
    """Returns the same for a person.

    Args:
        found: What ``account`` returned.
        name: What to call the file.
        width: Columns.
        color: Whether ANSI colours may be used.
    """
    columns = (
        Column(header="Address", footer="all packed"),
        Column(header="Holds", goes=1),
        Column(header="Loaded", goes=2),
        Column(header="Blocks", goes=3),
        Column(header="Size", footer=mebibytes(found["loaded"])),
        Column(header="Stored", footer=mebibytes(found["stored"])),
    )
    rows = [
        (
            f"{one['address']:#x}",
            "code" if one["executable"] else "data",
            one["moment"],
            f"{one['blocks']:,}",
            mebibytes(one["size"]),
            mebibytes(one["stored"]),
        )
        for one in found["ranges"]
    ]
    sizes = f"{mebibytes(found['size'])}, of which {mebibytes(found['raw'])} are raw"
    if found["symbols"]:
        sizes += f"; {found['symbols']:,} symbols pruned, {mebibytes(found['pruned'])}"
    return render(
        Text(f"{safe(name)}: {sizes}", style="bold"),
        table(columns, rows, width=width),
        width=width,
        color=color,
    )
