"""``slimpack diff`` as a user and a pipeline meet it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from layouts import APP, installed, unpacked, zipped
from samples import account_of, book, distribution, file, inventory

from slimpack.manifest import to_json
from slimpack.report.diff import json_schema

if TYPE_CHECKING:
    from conftest import Cli, MakeWheel

MIB = 2**20

SCHEMA = Path(__file__).parent.parent / "docs" / "diff.schema.json"


@pytest.fixture
def cli(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.setenv("COLUMNS", "100")
    return cli


def saved(folder: Path, sizes: dict[str, int], *, scipy: str = "1.17.0", name: str = "app") -> Path:
    """Writes the manifest of a bundle of scikit-learn, which the requirements name, and of what it needs."""
    needed = tuple(one for one in sizes if one not in {"scikit-learn", "six", "(app)"})
    stock = inventory(
        *(file(f"{one}/a.so", one, size=size) for one, size in sizes.items()),
        distributions=(
            distribution("scikit-learn", requires=tuple(one for one in needed if one != "numpy")),
            *(
                distribution(
                    one,
                    scipy if one == "scipy" else "1.0",
                    requested=False,
                    requires=("numpy",) if one == "scipy" and "numpy" in sizes else (),
                )
                for one in needed
            ),
        ),
    )
    folder.mkdir(exist_ok=True)
    place = folder / f"{name}.manifest.json"
    place.write_text(to_json(account_of(stock, book())))
    return place


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return saved(
        tmp_path / "base", {"scikit-learn": 30 * MIB, "scipy": 60 * MIB, "six": 50_000, "(app)": 2 * MIB}
    )


@pytest.fixture
def head(tmp_path: Path) -> Path:
    sizes = {"scikit-learn": 30 * MIB, "scipy": 66 * MIB, "numpy": 20 * MIB, "(app)": 2 * MIB + 1}
    return saved(tmp_path / "head", sizes, scipy="1.18.1")


def test_packages_files_and_causes_are_shown(cli: Cli, base: Path, head: Path) -> None:
    code, shown, errors = cli("diff", base.relative_to(Path.cwd()), head.relative_to(Path.cwd()))

    assert (code, errors) == (0, "")
    lines = shown.splitlines()
    assert lines[0] == (
        "base/app.manifest.json → head/app.manifest.json: +26.0 MiB (+28.2 %), 92.0 MiB → 118.0 MiB"
    )
    rows = {line.split()[0]: " ".join(line.split()) for line in lines if line}
    assert rows["numpy"] == "numpy 1.0 - 20.0 MiB +20.0 MiB new: scikit-learn →"
    assert (
        " ".join(lines[lines.index(next(line for line in lines if "numpy" in line)) + 1].split())
        == "scipy → numpy"
    )
    assert rows["scipy"] == "scipy 1.17.0 → 1.18.1 60.0 MiB 66.0 MiB +6.0 MiB upgrade"
    assert rows["six"] == "six 1.0 48.8 KiB - -48.8 KiB no longer required"
    assert rows["(app)"] == "(app) 2,097,152 bytes 2,097,153 bytes +1 B the app's own"
    assert rows["1"] == "1 unchanged 30.0 MiB 30.0 MiB 0"
    assert rows["total"] == "total 92.0 MiB 118.0 MiB +26.0 MiB"
    assert rows["scipy/a.so"] == "scipy/a.so 60.0 MiB 66.0 MiB +6.0 MiB upgrade"


def test_nothing_is_said_of_bundles_that_are_the_same(cli: Cli, base: Path) -> None:
    code, shown, _ = cli("diff", base, base)

    assert code == 0
    assert "no difference, 92.0 MiB (96,518,992 bytes)" in " ".join(shown.split())
    assert "Package" not in shown


def test_small_changes_share_a_row_and_stay_in_the_totals(cli: Cli, base: Path, head: Path) -> None:
    _, shown, _ = cli("diff", base, head, "--threshold", "1MiB", "--files", "1")

    rows = [" ".join(line.split()) for line in shown.splitlines()]
    assert not any(row.startswith("six") for row in rows)
    assert "2 smaller 2,147,152 bytes 2,097,153 bytes -48.8 KiB" in rows
    assert "total 92.0 MiB 118.0 MiB +26.0 MiB" in rows
    assert "3 more 62.0 MiB 68.0 MiB +6.0 MiB" in rows


def test_no_file_is_shown_if_none_is_wanted(cli: Cli, base: Path, head: Path) -> None:
    assert "a.so" not in cli("diff", base, head, "--files", "0")[1]


def test_the_json_has_everything_and_follows_its_schema(cli: Cli, base: Path, head: Path) -> None:
    code, shown, errors = cli("diff", base, head, "--json", "--threshold", "1GiB", "--files", "0")

    found: dict[str, Any] = json.loads(shown)
    published = json.loads(SCHEMA.read_text())
    assert (code, errors) == (0, "")
    assert published == json_schema()
    jsonschema.Draft202012Validator.check_schema(published)
    jsonschema.validate(found, published)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**found, "packages": {}}, published)
    assert found["delta"] == found["head"]["size"] - found["base"]["size"]
    assert sum(one["after"] - one["before"] for one in found["packages"]) == found["delta"]
    assert sum(one["after"] - one["before"] for one in found["files"]) == found["delta"]
    numpy = next(one for one in found["packages"] if one["name"] == "numpy")
    assert (numpy["causes"], numpy["via"]) == (["dependency"], ["scikit-learn", "scipy", "numpy"])


def test_a_base_from_another_commit_is_noted(cli: Cli, base: Path, head: Path) -> None:
    one, other = "0123456789abcdef0123", "fedcba9876543210fedc"

    assert "note" not in cli("diff", base, head, "--base-commit", one, "--merge-base", one[:7])[1]
    code, shown, _ = cli("diff", base, head, "--base-commit", one, "--merge-base", other)
    notes = json.loads(cli("diff", base, head, "--base-commit", one, "--merge-base", other, "--json")[1])[
        "notes"
    ]

    assert code == 0
    assert f"built from commit {one[:12]}, but the branch begins at {other[:12]}" in " ".join(shown.split())
    assert len(notes) == 1


@pytest.mark.parametrize("given", ["--base-commit", "--merge-base"])
def test_a_commit_alone_tells_nothing(cli: Cli, base: Path, head: Path, given: str) -> None:
    code, _, errors = cli("diff", base, head, given, "abc")

    assert code == 2
    assert f"{given}: nothing to compare it with" in errors


def test_bundles_of_other_tools_are_compared_with_each_other(
    cli: Cli, tmp_path: Path, make_wheel: MakeWheel
) -> None:
    old = make_wheel("alpha", "1.9", {"alpha/__init__.py": "x" * 100}, requires=("beta",))
    new = make_wheel("alpha", "1.10", {"alpha/__init__.py": "x" * 50}, requires=("beta",))
    beta = make_wheel("beta", "1", {"beta.py": ""})
    pip = zipped(tmp_path / "pip.zip", installed(old, requested=("alpha",)) | APP)
    sam = zipped(tmp_path / "sam.zip", unpacked(new, beta) | APP)

    code, shown, errors = cli("diff", pip, sam, "--json")

    found = json.loads(shown)
    packages = {one["name"]: one for one in found["packages"]}
    assert (code, errors) == (0, "")
    assert packages["alpha"]["causes"] == ["bytecode", "upgrade"]
    assert packages["beta"]["causes"] == ["dependency"]
    assert packages["beta"]["via"] == ["alpha", "beta"]
    assert packages["(other)"]["kind"] == "unchanged"


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
def test_no_line_is_wider_than_the_terminal(
    cli: Cli, base: Path, head: Path, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))

    code, shown, _ = cli("diff", base, head)

    assert code == 0
    assert all(len(line) <= max(width, 20) for line in shown.splitlines())


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_names_cannot_steer_the_terminal(cli: Cli, base: Path, head: Path, options: tuple[str, ...]) -> None:
    evil = "\x1b[2J\x9b31m\u202e\ud800\n"
    plain = json.loads(head.read_text())
    for one in (*plain["files"], *plain["distributions"]):
        for key in {"path", "owner", "name", "version"} & one.keys():
            one[key] += evil
    plain["slimpack"] += evil
    plain["target"]["runtime"] += evil
    head.write_text(json.dumps(plain))

    code, shown, errors = cli("diff", base, head, *options)

    assert (code, errors) == (0, "")
    assert "[2J" in shown
    assert all(line.isprintable() for line in shown.splitlines())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("missing.zip",), "cannot be read"),
        (("",), "the path is empty"),
        (("--threshold", "much"), "'much' is no size"),
        (("--files", "-1"), "--files"),
    ],
)
def test_what_cannot_be_compared_ends_with_2(
    cli: Cli, base: Path, arguments: tuple[str, ...], message: str
) -> None:
    code, shown, errors = cli("diff", base, *(() if len(arguments) == 1 else (base,)), *arguments)

    assert (code, shown) == (2, "")
    assert message in errors
