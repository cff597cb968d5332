"""What kept code needs comes back through a whole build, and nothing else does."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import MakeElf, MakeWheel
    from shop import Shop


def rule(shop: Shop, stem: str, body: str) -> None:
    folder = shop.folder / "rules"
    folder.mkdir(exist_ok=True)
    (folder / f"{stem}.toml").write_text(
        f"""
[[rule]]
name = "gone"
action = "remove"
reason = "It is not needed, says the test."
{body}
[[rule.evidence]]
version = "1"
files = 1
bytes = 1
shown = "Run."
"""
    )


def kept(shop: Shop) -> set[str]:
    done = shop.build("--rules", "rules")
    assert done.code == 0, done.err
    return {path for path, file in shop.files().items() if file["decision"] != "removed"}


def test_a_distribution_whose_plugin_kept_code_asks_for_is_not_dropped(
    shop: Shop, make_wheel: MakeWheel
) -> None:
    ask = "from importlib.metadata import entry_points\nP = entry_points(group='host.plugins')\n"
    shop.stock(
        make_wheel(
            "plug", "1", {"plug/__init__.py": "X = 1\n"}, entry_points="[host.plugins]\nplug = plug:X\n"
        ),
        make_wheel("host", "1", {"host.py": ask}, requires=("plug",)),
    )
    shop.require("host")
    rule(shop, "plug", 'whole = true\nrequired_by = ["host"]')

    assert "plug/__init__.py" in kept(shop)


def test_what_an_entry_point_names_comes_back_with_its_own_needs(shop: Shop, make_wheel: MakeWheel) -> None:
    files = {
        "host/__init__.py": "",
        "host/tools/__init__.py": "",
        "host/tools/cli.py": "from host.tools import deep\n",
        "host/tools/deep.py": "",
        "host/tools/other.py": "",
    }
    shop.stock(make_wheel("host", "1", files, entry_points="[console_scripts]\nhost = host.tools.cli:main\n"))
    shop.require("host")
    rule(shop, "host", 'paths = ["host/tools/"]\nexamples = { match = ["host/tools/cli.py"] }')

    found = kept(shop)

    assert {"host/tools/__init__.py", "host/tools/cli.py", "host/tools/deep.py"} <= found
    assert "host/tools/other.py" not in found


def test_a_submodule_in_all_comes_back(shop: Shop, make_wheel: MakeWheel) -> None:
    package = "names = ['bench']\n__all__ = names + ['f']\ndef f(): pass\n"
    files = {"host/__init__.py": package, "host/bench.py": "", "host/other_bench.py": ""}
    shop.stock(make_wheel("host", "1", {**files, "user.py": "from host import *\n"}))
    shop.require("host")
    rule(shop, "host", 'paths = ["host/*bench.py"]\nexamples = { match = ["host/bench.py"] }')

    found = kept(shop)

    assert "host/bench.py" in found
    assert "host/other_bench.py" not in found


def test_tolerance_ends_for_code_that_came_back(shop: Shop, make_wheel: MakeWheel) -> None:
    # given a rule that tolerates a lazy import, by code that stays and by code that it takes as well
    lazy = "def f():\n    import host.gone.b\n"
    files = {
        "host/__init__.py": lazy,
        "host/gone/__init__.py": "",
        "host/gone/a.py": lazy,
        "host/gone/b.py": "",
    }
    shop.stock(
        make_wheel("host", "1", files),
        make_wheel("user", "1", {"user.py": "import host.gone.a\n"}, requires=("host",)),
    )
    rule(
        shop,
        "host",
        'paths = ["host/gone/"]\ntolerates = ["lazy-import"]\nexamples = { match = ["host/gone/a.py"] }',
    )

    shop.require("host")
    assert "host/gone/b.py" not in kept(shop)
    shop.require("user")
    assert "host/gone/b.py" in kept(shop)


def test_data_that_another_distribution_names_by_path_comes_back(shop: Shop, make_wheel: MakeWheel) -> None:
    data = ("aaa/data/x.json", "aaa/data/y.json", "aaa/data/z.json", "aaa/data/LICENSE", "aaa/more/LICENSE")
    by_path = "import os.path\ndef f():\n    return open(os.path.join('..', 'aaa/data/x.json')), 'z.json'\n"
    by_package = (
        "import importlib.resources\n"
        "def f():\n    return importlib.resources.files('aaa.data') / 'y.json', 'LICENSE'\n"
    )
    shop.stock(
        make_wheel("aaa", "1", {"aaa/__init__.py": "", **dict.fromkeys(data, "{}")}),
        make_wheel("bbb", "1", {"bbb.py": by_path, "bbc.py": by_package}, requires=("aaa",)),
    )
    shop.require("bbb")
    rule(shop, "aaa", 'paths = ["*.json", "LICENSE"]\nexamples = { match = ["aaa/data/x.json"] }')

    assert kept(shop) & set(data) == {"aaa/data/x.json", "aaa/data/y.json"}


def test_the_copy_of_a_library_that_the_loader_finds_comes_back(
    shop: Shop, make_wheel: MakeWheel, make_elf: MakeElf
) -> None:
    library = make_elf(
        "int f(void) { return 1; }", "-shared", "-fPIC", "-Wl,-soname,libz9.so.1", name="libz9.so.1"
    )
    needing = "int f(void); int g(void) { return f(); }"
    runpath = "-Wl,-rpath,$ORIGIN/../aaa.libs"
    extension = make_elf(needing, "-shared", "-fPIC", str(library), runpath, name="ext.so").read_bytes()
    content = library.read_bytes()
    shop.stock(
        make_wheel(
            "aaa",
            "1",
            {
                "aaa/__init__.py": "",
                "aaa/ext.so": extension,
                "aaa.libs/libz9.so.1": content,
                "aaa/alt/libz9.so.1": content,
            },
        ),
        make_wheel("bbb", "1", {"bbb/__init__.py": "", "bbb/libz9.so.1": content}),
    )
    rule(shop, "aaa", 'paths = ["libz9.so.1"]\nexamples = { match = ["aaa/alt/libz9.so.1"] }')

    for required in (("aaa",), ("aaa", "bbb")):
        shop.require(*required)
        found = kept(shop)
        assert "aaa.libs/libz9.so.1" in found
        assert "aaa/alt/libz9.so.1" not in found
