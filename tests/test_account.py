from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest
from samples import account_of, book, distribution, file, inventory

from slimpack.account import of_manifest
from slimpack.errors import ManifestError
from slimpack.model import APP, PackedFile

if TYPE_CHECKING:
    from slimpack.manifest import DistributionRecord, Manifest


def made() -> Manifest:
    return account_of(
        inventory(
            file("pkg/a.py", size=10),
            file("app.py", APP, size=5),
            distributions=(distribution(requires=("other",)), distribution("other", requested=False)),
        ),
        book(),
    )


def test_an_account_is_what_the_manifest_says() -> None:
    account = of_manifest(made(), name="app.zip")

    assert (account.name, account.origin, account.size) == ("app.zip", "manifest", 15)
    assert account.sizes() == {"pkg": 10, "(app)": 5}
    assert account.versions() == {"other": "1.0", "pkg": "1.0"}
    assert account.needed_by() == {"other": ("pkg",)}
    assert (account.runtime, account.architecture) == ("python3.12", "x86_64")


def changed(**changes: Any) -> Manifest:  # noqa: ANN401 -- fields of a manifest
    return dataclasses.replace(made(), **changes)


def renamed(name: str) -> DistributionRecord:
    return dataclasses.replace(made().distributions[0], name=name)


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        (changed(totals=dataclasses.replace(made().totals, size_after=1)), "totals"),
        (changed(totals=dataclasses.replace(made().totals, files_after=1)), "totals"),
        (changed(files=made().files * 2), "file twice"),
        (changed(distributions=made().distributions * 2), "package twice"),
        (
            changed(distributions=(dataclasses.replace(made().distributions[1], size_after=0),)),
            "packages are not the sums",
        ),
        (changed(distributions=tuple(renamed(f"p{number}") for number in range(5001))), "5,001 packages"),
        (
            changed(distributions=(dataclasses.replace(made().distributions[0], requires=("x",) * 100_001),)),
            "100,001 needs",
        ),
        (
            changed(
                files=tuple(
                    dataclasses.replace(
                        one, packed=PackedFile(size_before=5, stored=0, loaded=5, archived=1000)
                    )
                    if one.owner == APP
                    else one
                    for one in made().files
                )
            ),
            "more into an archive",
        ),
    ],
    ids=["size", "count", "file twice", "package twice", "package size", "packages", "needs", "archive"],
)
def test_a_manifest_that_does_not_balance_is_not_believed(manifest: Manifest, message: str) -> None:
    with pytest.raises(ManifestError, match=message) as caught:
        of_manifest(manifest, name="app.zip", where="dist/app.manifest.json")

    assert caught.value.where == "dist/app.manifest.json"
    assert caught.value.fix
