"""Packed files are shown, and made plain again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from slimpack.elf.compact import compact
from slimpack.elf.pack import pack

if TYPE_CHECKING:
    from conftest import MakeElf
    from shop import Shop

SOURCE = "".join(
    f"int f{i}(int x) {{ for (int i = 0; i < x; i++) x = x * {i * i + 3} ^ (x >> {i % 13 + 1}); return x; }}\n"
    for i in range(1500)
)


@pytest.fixture
def plain(shop: Shop, make_elf: MakeElf) -> bytes:
    """A shared object; what it is packed to lies in the shop."""
    image = make_elf(SOURCE, "-shared", "-fPIC", "-O1", name="lib.so").read_bytes()
    content = b"".join(compact(image).chunks)
    packing = pack(content, pager_folder="$ORIGIN")
    (shop.folder / "packed.so").write_bytes(b"".join(packing.chunks))
    (shop.folder / "plain.so").write_bytes(content)
    return content


def test_what_is_packed_is_shown(shop: Shop, plain: bytes) -> None:
    shown = shop.run("elf", "show", "packed.so")
    found = json.loads(shop.run("elf", "show", "packed.so", "--json").out)["packed"]

    assert shown.code == 0
    assert "code" in shown.out
    assert found["size"] == (shop.folder / "packed.so").stat().st_size < len(plain)
    assert found["raw"] + found["stored"] == found["size"]
    assert sum(one["stored"] for one in found["ranges"]) == found["stored"] < found["loaded"]
    assert shop.run("elf", "show", "plain.so").out == "plain.so is not packed\n"


def test_unpacked_it_is_what_it_was(shop: Shop, plain: bytes) -> None:
    assert shop.run("elf", "unpack", "packed.so", "-o", "again.so").code == 0
    assert (shop.folder / "again.so").read_bytes() == plain


def test_what_cannot_be_unpacked_is_refused_and_leaves_nothing(shop: Shop, plain: bytes) -> None:
    packed = (shop.folder / "packed.so").read_bytes()
    (shop.folder / "cut.so").write_bytes(packed[: len(packed) // 2])
    (shop.folder / "empty.so").write_bytes(b"")
    (shop.folder / "damaged.so").write_bytes(packed[:-2000] + bytes(2000))
    before = sorted(path.name for path in shop.folder.iterdir())

    for name in ("cut.so", "empty.so", "damaged.so", "plain.so", "nothing.so", "."):
        done = shop.run("elf", "unpack", name, "-o", "out.so")
        assert (done.code, done.err.startswith(f"error: {name}: cannot be read: ")) == (2, True), done.err
        damaged = name in {"cut.so", "damaged.so"}
        assert ("The file is damaged" in done.err, "built with --pack" in done.err) == (damaged, not damaged)
    assert sorted(path.name for path in shop.folder.iterdir()) == before
    assert plain
