from __future__ import annotations

from typing import TYPE_CHECKING
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement

from slimpack import target
from slimpack.errors import WheelError
from slimpack.resolve.environment import markers
from slimpack.resolve.metadata import needs, requirements_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from conftest import MakeWheel

ARM = target.make(runtime="python3.12", architecture="arm64")


def _needs(
    graph: Mapping[str, Sequence[str]], extras: Mapping[str, Sequence[str]]
) -> dict[str, tuple[str, ...]]:
    return needs(
        {name: [Requirement(one) for one in entries] for name, entries in graph.items()}, extras, markers(ARM)
    )


def test_markers_are_those_of_the_target() -> None:
    graph = {
        "a": [
            "b; platform_machine == 'aarch64'",
            "c; python_version < '3.12'",
            "d; python_full_version < '3.12.4'",
            "e",
        ],
        **dict.fromkeys("bcd", ()),
    }

    assert _needs(graph, {})["a"] == ("b",)


def test_extras_spread_to_what_needs_them() -> None:
    graph = {
        "app": ["lib[Fast_Mode]"],
        "lib": ["speed; extra == 'fast-mode'", "docs; extra == 'docs'", "lib[docs]; extra == 'all'"],
        "speed": [],
        "docs": ["app"],
    }

    assert _needs(graph, {})["lib"] == ("speed",)
    assert _needs(graph, {"lib": ["all"]})["lib"] == ("docs", "speed")


def test_requirements_come_from_the_wheel(make_wheel: MakeWheel) -> None:
    wheel = make_wheel("a", "1.0", {}, requires=["b>=1", "no requirement at all", "c[x]; extra == 'y'"])

    assert [str(one) for one in requirements_of(wheel)] == ["b>=1", 'c[x]; extra == "y"']


def test_what_is_no_wheel_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "a-1.0-py3-none-any.whl").write_bytes(b"PK\x03\x04 no more")
    with ZipFile(tmp_path / "b-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("b.py", "")

    for name in ("a", "b", "gone"):
        with pytest.raises(WheelError, match="METADATA"):
            requirements_of(tmp_path / f"{name}-1.0-py3-none-any.whl")
