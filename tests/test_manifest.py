from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from samples import account_of, book, distribution, file, inventory, rules

from slimpack.errors import BooksError, ManifestError
from slimpack.manifest import Manifest, balance, from_json, json_schema, to_json
from slimpack.model import APP, Need, Overruled, Reference

SCHEMA = Path(__file__).parent.parent / "docs" / "manifest.schema.json"

TESTS = rules('[[rule]]\nname = "tests"\npaths = ["tests/"]\nexamples = { match = ["tests/a"] }')


@pytest.fixture
def manifest() -> Manifest:
    return account_of(
        inventory(
            file("pkg/a.py", size=10),
            file("pkg/tests/b.py", size=20),
            file("pkg/c.so", size=40),
            file("app.py", APP, size=5),
            distributions=(distribution("pkg", requires=("other",)), distribution("other")),
        ),
        book(TESTS),
        sizes={"pkg/c.so": 30},
    )


INVENTORY = {"pkg/a.py": 10, "pkg/tests/b.py": 20, "pkg/c.so": 40, "app.py": 5}
BUNDLE = {"pkg/a.py": 10, "pkg/c.so": 30, "app.py": 5}


def test_a_manifest_survives_being_written_and_read(manifest: Manifest) -> None:
    assert from_json(to_json(manifest), where="x") == manifest


def test_a_manifest_of_a_rule_that_gave_way_to_what_has_no_lines_survives_too(manifest: Manifest) -> None:
    by = Reference(need=Need.LIBRARY, path="pkg/c.so", line=None, target="liba.so.1")
    first, *others = manifest.files
    told = dataclasses.replace(first, overruled=Overruled(rule="pkg/tests", by=by))
    manifest = dataclasses.replace(manifest, files=(told, *others))

    assert from_json(to_json(manifest), where="x") == manifest
    jsonschema.validate(json.loads(to_json(manifest)), json_schema())


def test_totals_are_sums_of_what_was_written(manifest: Manifest) -> None:
    assert (manifest.totals.size_before, manifest.totals.size_after) == (75, 45)
    assert (manifest.totals.files_before, manifest.totals.files_after) == (4, 3)
    assert manifest.by_owner() == {"(app)": (5, 5), "pkg": (70, 40)}
    assert {one.path: one.decision for one in manifest.files} == {
        "app.py": "kept",
        "pkg/a.py": "kept",
        "pkg/c.so": "compacted",
        "pkg/tests/b.py": "removed",
    }


def test_what_a_rule_took_is_told(manifest: Manifest) -> None:
    assert [(one.id, one.files, one.bytes) for one in manifest.rules] == [("pkg/tests", 1, 20)]


def test_balanced_books_pass(manifest: Manifest) -> None:
    balance(manifest, inventory=INVENTORY, bundle=BUNDLE)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (INVENTORY | {"lost": 1}, BUNDLE),
        (INVENTORY | {"pkg/a.py": 11}, BUNDLE),
        (INVENTORY, BUNDLE | {"extra": 0}),
        (INVENTORY, BUNDLE | {"pkg/c.so": 29}),
        (INVENTORY, {path: size for path, size in BUNDLE.items() if path != "app.py"}),
    ],
    ids=["lost before", "wrong before", "extra after", "wrong after", "missing after"],
)
def test_books_that_do_not_balance_fail(
    manifest: Manifest, before: dict[str, int], after: dict[str, int]
) -> None:
    with pytest.raises(BooksError, match="does not balance"):
        balance(manifest, inventory=before, bundle=after)


def test_totals_that_are_no_sums_fail(manifest: Manifest) -> None:
    wrong = dataclasses.replace(manifest, totals=dataclasses.replace(manifest.totals, size_after=1))

    with pytest.raises(BooksError, match="totals"):
        balance(wrong, inventory=INVENTORY, bundle=BUNDLE)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("\0", "no JSON"),
        ("[]", "no slimpack manifest"),
        ('{"a": 1}', "no slimpack manifest"),
        ('{"schema_version": 99, "slimpack": "9"}', "manifest of schema 99"),
        ('{"schema_version": [], "slimpack": "9"}', "manifest of schema"),
        ('{"schema_version": 1, "slimpack": "9"}', "missing key 'format'"),
        ('{"schema_version": 1, "slimpack": 5, "files": 7}', "slimpack: "),
    ],
)
def test_what_is_no_manifest_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(ManifestError, match=sentence) as caught:
        from_json(text, where="some.json")

    assert caught.value.where == "some.json"


def test_the_published_schema_is_that_of_the_code_and_manifests_follow_it(manifest: Manifest) -> None:
    published: dict[str, Any] = json.loads(SCHEMA.read_text())

    assert published == json_schema()
    jsonschema.Draft202012Validator.check_schema(published)
    jsonschema.validate(json.loads(to_json(manifest)), published)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**json.loads(to_json(manifest)), "totals": {}}, published)
