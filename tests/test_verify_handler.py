from __future__ import annotations

import pytest

from slimpack.verify import handler
from slimpack.verify.modules import top_level

FILES = {
    "app.py": b"def handler(event, context): ...\n",
    "deep/er/mod.py": b"class Handler: ...\nimport json as handler\n",
    "branch.py": b"if True:\n    try:\n        handler = 1\n    except Exception:\n        pass\n",
    "star.py": b"from app import *\n",
    "broken.py": b"def handler(:\n",
    "hidden.py": b"globals()['handler'] = print\n",
    "native.cpython-312-x86_64-linux-gnu.so": b"\x7fELF",
    "package/__init__.py": b"async def run(event, context): ...\n",
}


def check(name: str) -> list[str]:
    return [f"{one.place}: {one.message}" for one in handler.check(name, FILES, FILES.__getitem__)]


@pytest.mark.parametrize(
    "name",
    [
        "app.handler",
        "deep/er/mod.handler",
        "deep.er.mod.Handler",
        "branch.handler",
        "star.anything",
        "hidden.handler",
        "native.anything",
        "package.run",
    ],
)
def test_a_handler_that_is_there_is_found(name: str) -> None:
    assert check(name) == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("app", "handler: 'app' is no handler: write it as module.function"),
        ("app.", "handler: 'app.' is no handler: write it as module.function"),
        (
            "ap.handler",
            "handler: the bundle has no module 'ap' (did you mean 'app'?): Lambda would not find it",
        ),
        ("app.handle", "app.py: the module has no function 'handle' (did you mean 'handler'?)"),
        ("broken.handler", "broken.py:1: the handler's module cannot be read: invalid syntax"),
    ],
)
def test_a_handler_that_is_not_there_is_named_with_what_may_be_meant(name: str, said: str) -> None:
    (found,) = check(name)
    assert found.startswith(said)


@pytest.mark.parametrize(("name", "found"), [("app.handle", 0), ("broken.handler", 0), ("ap.handler", 1)])
def test_where_a_run_follows_only_a_module_that_is_missing_counts(name: str, found: int) -> None:
    assert len(handler.check(name, FILES, FILES.__getitem__, runs=True)) == found


def test_packages_are_imported_by_their_public_names() -> None:
    assert top_level(
        [
            "numpy/__init__.py",
            "numpy/core/__init__.py",
            "_private.py",
            "six.py",
            "google/protobuf/__init__.py",
            "google/protobuf/message.py",
            "yaml/_yaml.so",
            "native.cpython-312-x86_64-linux-gnu.so",
            "numpy-2.0.dist-info/METADATA",
            "data/table.csv",
        ]
    ) == ("google.protobuf", "native", "numpy", "six")
