"""What the verbs read: whom they believe about a bundle."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import pytest
from layouts import written, zipped
from samples import account_of, book, file, inventory

from slimpack.cli.inputs import read_account
from slimpack.errors import BundleError, ManifestError
from slimpack.manifest import Manifest, to_json

if TYPE_CHECKING:
    from pathlib import Path

FILES = {"pkg/a.py": "12345", "pkg/b.py": ""}


@pytest.fixture
def manifest() -> Manifest:
    return account_of(inventory(file("pkg/a.py", size=5), file("pkg/b.py", size=0)), book())


def save(manifest: Manifest, place: Path, *, archive_size: int | None = None) -> Path:
    totals = dataclasses.replace(manifest.totals, archive_size=archive_size)
    of_zip = dataclasses.replace(manifest, totals=totals, format="zip")
    place.write_text(to_json(of_zip if archive_size else dataclasses.replace(of_zip, format="directory")))
    return place


def test_a_manifest_is_believed(tmp_path: Path, manifest: Manifest) -> None:
    account = read_account(save(manifest, tmp_path / "app.manifest.json", archive_size=9))

    assert (account.name, account.origin, account.size, account.archive_size) == ("app.zip", "manifest", 5, 9)
    assert read_account(save(manifest, tmp_path / "dir.manifest.json")).name == "dir"


def test_a_bundle_with_its_manifest_beside_it_has_what_that_tells(tmp_path: Path, manifest: Manifest) -> None:
    bundle = zipped(tmp_path / "app.zip", FILES, folders=True)
    save(manifest, tmp_path / "app.manifest.json", archive_size=bundle.stat().st_size)
    folder = written(tmp_path / "tree", FILES)
    save(manifest, tmp_path / "tree.manifest.json")

    assert read_account(bundle).origin == read_account(folder).origin == "manifest"
    assert (read_account(bundle).name, read_account(folder).name) == ("app.zip", "tree")
    assert read_account(folder).archive_size is None


def test_a_directory_that_was_zipped_later_has_the_size_of_its_zip(
    tmp_path: Path, manifest: Manifest
) -> None:
    bundle = zipped(tmp_path / "app.zip", FILES)
    save(manifest, tmp_path / "app.manifest.json")

    account = read_account(bundle)

    assert (account.origin, account.archive_size) == ("manifest", bundle.stat().st_size)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (FILES | {"pkg/a.py": "123456"}, r"pkg/a.py has 6 bytes, not 5 bytes"),
        (FILES | {"new.py": ""}, r"new.py has 0 bytes, not none"),
        ({"pkg/a.py": "12345"}, r"pkg/b.py has none, not 0 bytes"),
        ({}, r"pkg/a.py has none, not 5 bytes"),
    ],
)
def test_a_stale_manifest_is_never_believed(
    tmp_path: Path, manifest: Manifest, files: dict[str, str], message: str
) -> None:
    bundle = zipped(tmp_path / "app.zip", files)
    stale = save(manifest, tmp_path / "app.manifest.json")

    with pytest.raises(BundleError, match=message) as caught:
        read_account(bundle)
    stale.unlink()

    assert "delete app.manifest.json" in str(caught.value.fix)
    assert read_account(bundle).origin == "zip"


def test_a_manifest_of_another_zip_with_the_same_sizes_is_not_believed(
    tmp_path: Path, manifest: Manifest
) -> None:
    bundle = zipped(tmp_path / "app.zip", FILES)
    save(manifest, tmp_path / "app.manifest.json", archive_size=bundle.stat().st_size + 1)

    with pytest.raises(BundleError, match="the zip has"):
        read_account(bundle)


def test_a_broken_manifest_beside_a_bundle_is_an_error(tmp_path: Path) -> None:
    bundle = zipped(tmp_path / "app.zip", FILES)
    (tmp_path / "app.manifest.json").write_text("{}")

    with pytest.raises(ManifestError):
        read_account(bundle)


def test_a_bundle_that_is_gone_is_not_stood_in_for_by_its_manifest(
    tmp_path: Path, manifest: Manifest
) -> None:
    save(manifest, tmp_path / "app.manifest.json")

    with pytest.raises(BundleError, match="No such file"):
        read_account(tmp_path / "app.zip")


def test_a_directory_may_be_called_like_a_manifest(tmp_path: Path) -> None:
    assert read_account(written(tmp_path / "app.json", FILES)).origin == "directory"


def test_a_manifest_whose_totals_lie_is_not_believed(tmp_path: Path, manifest: Manifest) -> None:
    place = save(manifest, tmp_path / "app.manifest.json")
    data = json.loads(place.read_text())
    data["totals"]["size_after"] = 1
    place.write_text(json.dumps(data))

    with pytest.raises(ManifestError, match="totals") as caught:
        read_account(place)

    assert caught.value.where == str(place)
