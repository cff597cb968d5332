"""``slimpack why`` as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from layouts import APP, installed, zipped
from samples import account_of, book, distribution, file, inventory

from slimpack.manifest import to_json
from slimpack.report.why import json_schema

if TYPE_CHECKING:
    from conftest import Cli, MakeWheel

SCHEMA = Path(__file__).parent.parent / "docs" / "why.schema.json"


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Writes the one manifest in dist/."""
    stock = inventory(
        file("sklearn/a.so", "scikit-learn", size=30 * 2**20),
        file("scipy/a.so", "scipy", size=60 * 2**20),
        file("numpy/a.so", "numpy", size=10 * 2**20),
        distributions=(
            distribution("scikit-learn", requires=("numpy", "scipy")),
            distribution("scipy", requires=("numpy",), requested=False),
            distribution("numpy", requested=False),
        ),
    )
    place = tmp_path / "dist" / "app.manifest.json"
    place.parent.mkdir()
    place.write_text(to_json(account_of(stock, book())))
    return place


@pytest.mark.usefixtures("manifest")
def test_a_dependency_has_the_way_to_it_and_what_goes_with_it(cli: Cli) -> None:
    code, shown, errors = cli("why", "scipy")

    assert (code, errors) == (0, "")
    assert shown == (
        "scipy 1.0: 60.0 MiB of app (60.0 %)\n"
        "\n"
        "scikit-learn needs it (requirements.txt:1):\n"
        "  scikit-learn → scipy\n"
        "\n"
        "60.0 MiB would go with it: only its own.\n"
    )


@pytest.mark.usefixtures("manifest")
def test_a_requirement_has_its_line(cli: Cli) -> None:
    assert cli("why", "Scikit_Learn")[1] == (
        "scikit-learn 1.0: 30.0 MiB of app (30.0 %)\n"
        "\n"
        "The requirements name it (requirements.txt:1).\n"
        "\n"
        "100.0 MiB would go with it: its own, and scipy and numpy.\n"
    )


def test_the_json_follows_its_schema(cli: Cli, manifest: Path) -> None:
    code, shown, errors = cli("why", "numpy", "-m", manifest, "--json")

    found: dict[str, Any] = json.loads(shown)
    published = json.loads(SCHEMA.read_text())
    assert (code, errors) == (0, "")
    assert published == json_schema()
    jsonschema.Draft202012Validator.check_schema(published)
    jsonschema.validate(found, published)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**found, "package": {}}, published)
    assert found["bundle_size"] == 100 * 2**20
    assert found["package"]["paths"] == [["scikit-learn", "numpy"]]
    assert found["package"]["needed_by"] == ["scikit-learn", "scipy"]


def test_a_bundle_of_another_tool_tells_what_needs_what(
    cli: Cli, tmp_path: Path, make_wheel: MakeWheel
) -> None:
    alpha = make_wheel("alpha", "1.2", {"alpha/__init__.py": "x" * 50}, requires=("beta",))
    beta = make_wheel("beta", "1", {"beta_module.py": "y" * 100})
    bundle = zipped(tmp_path / "pip.zip", installed(alpha, beta, requested=("alpha",)) | APP)

    code, shown, errors = cli("why", "beta", "--manifest", bundle)
    refused = cli("why", "beta_module", "-m", bundle)

    assert (code, errors) == (0, "")
    assert "alpha needs it:\n  alpha → beta\n" in shown
    assert refused[0] == 2
    assert "beta brings a module of that name" in refused[2]


@pytest.mark.usefixtures("manifest")
def test_an_unknown_name_is_refused_with_what_may_be_meant(cli: Cli) -> None:
    code, shown, errors = cli("why", "numpi")

    assert (code, shown) == (2, "")
    assert errors.startswith("error: app: no package is called 'numpi' (did you mean 'numpy'?)\n  fix: ")


def test_without_a_manifest_there_is_one_error(cli: Cli) -> None:
    code, _, errors = cli("why", "numpy")

    assert code == 2
    assert "no manifest here" in errors


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_names_cannot_steer_the_terminal(cli: Cli, manifest: Path, options: tuple[str, ...]) -> None:
    evil = "\x1b[2J\x9b31m\u202e\ud800\n"
    text = manifest.read_text()
    for name in ("numpy", "scikit-learn", "requirements.txt:1"):
        text = text.replace(json.dumps(name), json.dumps(name + evil))
    manifest.write_text(text.replace('"1.0"', json.dumps("1.0" + evil)))

    code, shown, errors = cli("why", "scipy", *options)

    assert (code, errors) == (0, "")
    assert "[2J" in shown
    assert all(line.isprintable() for line in shown.splitlines())


@pytest.mark.parametrize("width", [20, 40])
def test_no_line_is_wider_than_the_terminal(
    cli: Cli, manifest: Path, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))

    shown = cli("why", "numpy", "-m", manifest)[1]

    assert all(len(line) <= width for line in shown.splitlines())
