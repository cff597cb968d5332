from __future__ import annotations

import hashlib
import platform
import shutil
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import tomli_w
from packaging.pylock import Pylock

from slimpack import target
from slimpack.errors import RequirementsError, ResolutionError
from slimpack.model import Lock, LockedWheel
from slimpack.resolve import lock

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from conftest import MakeWheel

    from slimpack.model import Target

PLAIN = target.make(runtime="python3.12")
ARM = target.make(runtime="python3.12", architecture="arm64")
OLD = target.make(runtime="python3.11")
HASH = "0123456789abcdef" * 4

ONE = LockedWheel(
    name="one",
    version="1.0",
    filename="one-1.0-cp312-cp312-manylinux_2_28_x86_64.whl",
    sha256=HASH,
    size=12,
    url="https://files.example/one-1.0-cp312-cp312-manylinux_2_28_x86_64.whl",
    path=None,
    index="https://index.example/simple",
    requires=("two",),
    requested=True,
    required_at=("requirements.txt:1", "more/base.txt:2"),
    extras=("plot",),
)


def _two(path: Path) -> LockedWheel:
    name = "two-2.0-py3-none-any.whl"
    return replace(
        ONE,
        name="two",
        version="2.0",
        filename=name,
        url=None,
        path=str(path / name),
        index=None,
        size=None,
        requires=(),
        requested=False,
        required_at=(),
        extras=(),
    )


def _lock(path: Path) -> Lock:
    return Lock(wheels=(ONE, _two(path)), inputs_digest="f" * 64, resolver="uv 1.0")


def test_reading_back_gives_an_equal_lock(tmp_path: Path) -> None:
    written = _lock(tmp_path / "wheels")
    path = tmp_path / "dist" / "pylock.app.toml"
    path.parent.mkdir()
    path.write_text(lock.text(written, PLAIN, path.parent))

    assert lock.read(path, PLAIN, digest="") == written


def test_the_text_is_a_valid_lock_for_other_tools(tmp_path: Path) -> None:
    text = lock.text(_lock(tmp_path / "wheels"), PLAIN, tmp_path / "dist")

    pylock = Pylock.from_dict(tomllib.loads(text))
    assert pylock.created_by == "slimpack"
    assert str(pylock.requires_python) == "==3.12.*"
    assert [package.name for package in pylock.packages] == ["one", "two"]


def test_a_signature_does_not_reach_the_lock_but_its_name_does(tmp_path: Path) -> None:
    masked = f"{ONE.url}?v=1&X-Amz-Signature=****"
    written = replace(_lock(tmp_path), wheels=(replace(ONE, url=masked),))
    path = tmp_path / "pylock.app.toml"
    path.write_text(lock.text(written, PLAIN, tmp_path))

    assert lock.read(path, PLAIN, digest="") == written

    path.write_text(path.read_text().replace("****", "hidden"))
    assert lock.read(path, PLAIN, digest="") == written


@pytest.mark.parametrize("place", ["dist", "dist/wheels", "wheels", "wheels/deep/er"])
def test_near_files_are_named_relative_to_the_lock(tmp_path: Path, place: str) -> None:
    text = lock.text(_lock(tmp_path / place), PLAIN, tmp_path / "dist")

    assert str(tmp_path) not in text


def test_far_files_are_named_by_their_whole_path(tmp_path: Path) -> None:
    text = lock.text(_lock(Path("/far/away")), PLAIN, tmp_path / "a" / "b" / "c")

    assert 'path = "/far/away/two-2.0-py3-none-any.whl"' in text


def test_a_lock_is_reused_only_for_the_same_inputs_target_and_files(
    tmp_path: Path, make_wheel: MakeWheel
) -> None:
    wheel = make_wheel("two", "2.0", {})
    written = _lock(wheel.parent)
    path = tmp_path / "pylock.app.toml"
    path.write_text(lock.text(written, PLAIN, tmp_path))

    assert lock.reusable(path, PLAIN, digest="f" * 64) == written
    assert lock.reusable(path, PLAIN, digest="e" * 64) is None
    assert lock.reusable(path, ARM, digest="f" * 64) is None
    assert lock.reusable(tmp_path / "pylock.toml", PLAIN, digest="f" * 64) is None
    wheel.unlink()
    assert lock.reusable(path, PLAIN, digest="f" * 64) is None
    path.write_text("half a lo")
    assert lock.reusable(path, PLAIN, digest="f" * 64) is None


def _wheel(name: str, **more: object) -> dict[str, Any]:
    return {"name": name, "url": f"https://files.example/{name}", "hashes": {"sha256": HASH}, **more}


def _write(folder: Path, *packages: Mapping[str, object], **more: object) -> Path:
    path = folder / "pylock.toml"
    told = {"lock-version": "1.0", "created-by": "another tool", "packages": list(packages), **more}
    path.write_text(tomli_w.dumps(told))
    return path


def _package(name: str, *wheels: Mapping[str, object], **more: object) -> dict[str, object]:
    told: dict[str, object] = {"name": name, "version": "1.0", **more}
    return told | ({"wheels": list(wheels)} if wheels else {})


def _select(path: Path, where: Target = PLAIN) -> list[str]:
    return [wheel.filename for wheel in lock.read(path, where, digest="d").wheels]


def test_the_best_wheel_for_the_target_is_picked_from_another_tools_lock(tmp_path: Path) -> None:
    names = [
        "a-1.0-py3-none-any.whl",
        "a-1.0-cp312-cp312-manylinux_2_28_x86_64.whl",
        "a-1.0-cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
        "a-1.0-cp312-cp312-manylinux_2_28_aarch64.whl",
        "a-1.0-cp312-cp312-manylinux_2_39_x86_64.whl",
        "a-1.0-cp312-cp312-linux_x86_64.whl",
        "a-1.0-cp312-cp312-musllinux_1_2_x86_64.whl",
        "a-1.0-cp39-abi3-manylinux1_x86_64.whl",
    ]
    path = _write(tmp_path, _package("a", *map(_wheel, names)))

    assert _select(path) == [names[1]]
    assert _select(path, ARM) == [names[3]]
    assert _select(path, OLD) == [names[7]]
    read = lock.read(path, PLAIN, digest="d")
    assert (read.resolver, read.inputs_digest) == ("another tool (lock)", "d")


def test_markers_are_evaluated_for_the_target(tmp_path: Path) -> None:
    path = _write(
        tmp_path,
        _package("a", _wheel("a-1.0-py3-none-any.whl"), marker="platform_machine == 'aarch64'"),
        _package("b", _wheel("b-1.0-py3-none-any.whl"), marker="python_version == '3.12'"),
        _package("c", marker="sys_platform == 'win32'", directory={"path": "."}),
    )

    assert _select(path) == ["b-1.0-py3-none-any.whl"]
    assert _select(path, ARM) == ["a-1.0-py3-none-any.whl", "b-1.0-py3-none-any.whl"]


def test_a_direct_reference_to_a_wheel_is_one(tmp_path: Path) -> None:
    archive = {"path": "sub/a-1.0-py3-none-any.whl", "hashes": {"sha256": HASH}}

    (wheel,) = lock.read(_write(tmp_path, _package("a", archive=archive)), PLAIN, digest="").wheels

    assert (wheel.path, wheel.url) == (str(tmp_path / "sub/a-1.0-py3-none-any.whl"), None)


def test_all_without_a_fitting_wheel_are_in_one_error(tmp_path: Path) -> None:
    sdist = {"url": "https://files.example/b-1.0.tar.gz", "hashes": {"sha256": HASH}}
    path = _write(
        tmp_path,
        _package("a", _wheel("a-1.0-cp312-cp312-win_amd64.whl")),
        _package("b", sdist=sdist),
        _package("c", vcs={"type": "git", "url": "https://host.example/c", "commit-id": "0"}),
        _package("d", _wheel("d-1.0-py3-none-any.whl")),
    )

    with pytest.raises(ResolutionError) as caught:
        _select(path)

    assert (
        "a (it has wheels for cp312-cp312-win_amd64); b (only source); c (only source)" in caught.value.what
    )


@pytest.mark.parametrize(
    ("more", "what"),
    [
        ({"requires-python": ">=3.13"}, "not for python3.12 on x86_64"),
        ({"environments": ["platform_machine == 'aarch64'"]}, "not for python3.12 on x86_64"),
    ],
)
def test_a_lock_for_another_target_is_refused(tmp_path: Path, more: Mapping[str, object], what: str) -> None:
    path = _write(tmp_path, _package("a", _wheel("a-1.0-py3-none-any.whl")), **more)

    with pytest.raises(ResolutionError, match=what):
        _select(path)


@pytest.mark.parametrize(
    "package",
    [
        _package("a", _wheel("a-1.0-py3-none-any.whl", hashes={})),
        _package("a", _wheel("a-1.0-py3-none-any.whl", hashes={"md5": "0"})),
        _package("a", _wheel("a-1.0-py3-none-any.whl", hashes={"sha256": "../../x"})),
        _package("a", _wheel("a-1.0-py3-none-any.whl", url="ftp://files.example/a")),
        _package("a", _wheel("a-1.0-py3-none-any.whl", url="https://files.example/a b\n--hash")),
        _package("a", _wheel("a-1.0-py3-none-any/../../../../etc/x.whl")),
        _package("a", _wheel("b-1.0-py3-none-any.whl")),
        _package("A_b", _wheel("a_b-1.0-py3-none-any.whl")),
        {"name": "a"},
    ],
)
def test_a_hostile_or_broken_lock_is_one_error(tmp_path: Path, package: Mapping[str, object]) -> None:
    with pytest.raises((RequirementsError, ResolutionError)) as caught:
        _select(_write(tmp_path, package))

    assert caught.value.fix


@pytest.mark.parametrize(
    "content", [b"", b"lock-version = '9.0'", b"\xff", b"a = [", b'lock-version = "1.0"\n']
)
def test_what_is_no_lock_is_one_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "pylock.toml"
    path.write_bytes(content)

    with pytest.raises(RequirementsError):
        _select(path)


def test_credentials_in_another_tools_lock_go_no_further(tmp_path: Path) -> None:
    url = "https://me:secret@files.example/a-1.0-py3-none-any.whl?token=secret"
    path = _write(
        tmp_path, _package("a", _wheel("a-1.0-py3-none-any.whl", url=url), index="https://secret@i.example/")
    )

    assert "secret" not in lock.text(lock.read(path, PLAIN, digest=""), PLAIN, tmp_path)


@pytest.mark.skipif(
    shutil.which("uv", path=str(Path(sys.executable).parent)) is None, reason="uv is not installed"
)
def test_uv_installs_from_it(tmp_path: Path, make_wheel: MakeWheel) -> None:
    wheel = make_wheel("two", "2.0", {"two.py": "v = 2"})
    python = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    locked = replace(_two(tmp_path), sha256=hashlib.sha256(wheel.read_bytes()).hexdigest())
    here = target.make(runtime=python, architecture="arm64" if platform.machine() == "aarch64" else "x86_64")
    path = tmp_path / "pylock.app.toml"
    path.write_text(lock.text(Lock(wheels=(locked,), inputs_digest="", resolver=""), here, tmp_path))

    uv = Path(sys.executable).with_name("uv")
    command: list[str | Path] = [
        uv,
        "pip",
        "install",
        "--no-config",
        "--python",
        sys.executable,
        "--target",
        tmp_path / "out",
        "-r",
        path,
    ]
    subprocess.run(command, check=True, capture_output=True)

    assert (tmp_path / "out" / "two.py").read_text() == "v = 2"
