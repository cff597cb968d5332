"""Bundles that other tools have made: whose their files are, to the byte."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest
from layouts import APP, installed, unpacked, written, zipped

from slimpack.account import OTHER, Account
from slimpack.errors import BundleError
from slimpack.survey import survey
from slimpack.unzip import Limits

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from conftest import MakeWheel

LINUX = "cp312-cp312-manylinux_2_28_x86_64"


@pytest.fixture
def wheels(make_wheel: MakeWheel) -> tuple[Path, ...]:
    """Alpha needs beta, and gamma with the extra; beta is compiled; gamma is a single module."""
    return (
        make_wheel(
            "Alpha",
            "1.2",
            {"alpha/__init__.py": "import beta", "alpha/data.bin": "x" * 1000},
            requires=("beta>=1", 'gamma; extra == "g"', 'delta; python_version < "3"'),
            extras=("g",),
            data={"scripts/alpha-run": "#!python\n"},
            executable=("scripts/alpha-run",),
        ),
        make_wheel("beta", "3.0", {"beta/_fast.so": "elf" * 99, "beta/__init__.py": ""}, tag=LINUX),
        make_wheel("gamma", "0.1", {"gamma.py": "x = 1"}),
    )


def requested(account: Account) -> list[str]:
    return [one.name for one in account.distributions if one.requested]


def balanced(account: Account, files: Mapping[str, bytes | str]) -> bool:
    """Returns whether every byte is accounted for."""
    size = sum(len(content.encode() if isinstance(content, str) else content) for content in files.values())
    return account.size == size == sum(account.sizes().values()) and len(account.files) == len(files)


def size_of(files: Mapping[str, bytes | str], *parts: str) -> int:
    return sum(len(content) for path, content in files.items() if any(part in path for part in parts))


def test_a_zip_of_sam_is_attributed_to_the_byte(tmp_path: Path, wheels: tuple[Path, ...]) -> None:
    files = unpacked(*wheels) | APP

    account = survey(zipped(tmp_path / "sam.zip", files))

    assert account.origin == "zip"
    assert account.archive_size == (tmp_path / "sam.zip").stat().st_size
    assert balanced(account, files)
    assert account.sizes() == {
        "alpha": size_of(files, "alpha/", "Alpha-", "alpha-1.2"),
        "beta": size_of(files, "beta"),
        "gamma": size_of(files, "gamma"),
        OTHER: sum(map(len, APP.values())),
    }
    assert account.versions() == {"alpha": "1.2", "beta": "3.0", "gamma": "0.1"}
    assert {one.name: one.requires for one in account.distributions} == {
        "alpha": ("beta",),
        "beta": (),
        "gamma": (),
    }
    assert requested(account) == ["alpha", "gamma"]  # nothing tells that an extra brought gamma
    assert (account.runtime, account.architecture) == ("python3.12", "x86_64")


def test_a_zip_of_pip_has_its_scripts_and_bytecode_attributed(
    tmp_path: Path, wheels: tuple[Path, ...]
) -> None:
    files = installed(*wheels, requested=("alpha",))

    account = survey(zipped(tmp_path / "pip.zip", files, folders=True))

    assert balanced(account, files)
    assert OTHER not in account.sizes()
    assert account.sizes()["alpha"] == size_of(files, "alpha")
    owners = {file.path: file.owner for file in account.files}
    assert owners["bin/alpha-run"] == "alpha"
    assert owners["__pycache__/gamma.cpython-312.pyc"] == "gamma"


def test_what_pip_marks_as_requested_tells_which_extras_were_asked_for(
    tmp_path: Path, wheels: tuple[Path, ...]
) -> None:
    account = survey(zipped(tmp_path / "pip.zip", installed(*wheels, requested=("alpha",))))

    assert requested(account) == ["alpha"]
    assert account.needed_by() == {"beta": ("alpha",), "gamma": ("alpha",)}


@pytest.mark.parametrize("prefix", ["python/", "python/lib/python3.12/site-packages/", "package/"])
def test_a_layer_is_attributed_below_its_prefix(
    tmp_path: Path, wheels: tuple[Path, ...], prefix: str
) -> None:
    files = installed(*wheels, requested=("alpha",))

    account = survey(zipped(tmp_path / "layer.zip", files, prefix=prefix))
    folder = survey(written(tmp_path / "layer", files, prefix=prefix))

    assert balanced(account, files)
    assert OTHER not in account.sizes()
    assert folder.sizes() == account.sizes()
    assert (folder.origin, folder.archive_size) == ("directory", None)


def test_scripts_of_a_site_packages_folder_may_lie_above_it(tmp_path: Path, wheels: tuple[Path, ...]) -> None:
    site = "python/lib/python3.12/site-packages/"
    files = {f"{site}{path}": content for path, content in unpacked(wheels[0]).items()}
    record = f"{site}alpha-1.2.dist-info/RECORD"
    files[record] += b"../../../bin/run,,\n"
    files["python/bin/run"] = b"#!"

    account = survey(zipped(tmp_path / "layer.zip", files))

    assert account.sizes() == {"alpha": account.size}


def test_bytecode_without_a_record_of_its_own_belongs_to_its_source(
    tmp_path: Path, wheels: tuple[Path, ...]
) -> None:
    compiled = {
        "alpha/__pycache__/__init__.cpython-312.pyc": b"a",
        "alpha/__pycache__/__init__.cpython-312.opt-1.pyc": b"ab",
        "__pycache__/gamma.cpython-312.pyc": b"abc",
        "beta/__init__.pyc": b"abcd",  # as `compileall -b` has it, perhaps with the source removed
        "__pycache__/app.cpython-312.pyc": b"abcde",
    }
    plain = unpacked(*wheels) | APP
    del plain["beta/__init__.py"]

    sizes = survey(zipped(tmp_path / "a.zip", plain | compiled)).sizes()
    without = survey(zipped(tmp_path / "b.zip", plain)).sizes()

    assert {owner: sizes[owner] - without[owner] for owner in sizes} == {
        "alpha": 3,
        "gamma": 3,
        "beta": 4,
        OTHER: 5,
    }


def test_symbolic_links_are_small_files_and_not_followed(tmp_path: Path, wheels: tuple[Path, ...]) -> None:
    files = unpacked(*wheels)
    account = survey(zipped(tmp_path / "a.zip", files, links={"gamma.so": "/etc/passwd"}))
    folder = written(tmp_path / "a", files)
    (tmp_path / "secret").write_bytes(b"s" * 5000)
    (folder / "gamma.so").symlink_to("/etc/passwd")
    (folder / "out").symlink_to(tmp_path, target_is_directory=True)
    (folder / "evil-1.dist-info").mkdir()
    (folder / "evil-1.dist-info" / "METADATA").symlink_to(tmp_path / "secret")

    linked = survey(folder)

    assert account.sizes()[OTHER] == len("/etc/passwd")
    assert linked.sizes()[OTHER] == len("/etc/passwd") + len(str(tmp_path))
    assert linked.sizes()["evil"] == len(str(tmp_path / "secret"))


def test_what_no_installer_has_recorded_is_told_by_egg_info(tmp_path: Path) -> None:
    files = {
        "old/__init__.py": "old",
        "old/sub/mod.py": "old too",
        "other.py": "?",
        "Old_Name-1.0-py3.12.egg-info/PKG-INFO": "Name: Old.Name\nVersion: 1.0\nRequires-Dist: single\n",
        "Old_Name-1.0-py3.12.egg-info/top_level.txt": "old\n",
        "single.py": "x",
        "single-2.0.egg-info": "Metadata-Version: 1.0\nName: single\nVersion: 2.0\n",
        "listed/a.py": "x",
        "listed-3-py3.12.egg-info/PKG-INFO": "Name: listed\nVersion: 3\n",
        "listed-3-py3.12.egg-info/installed-files.txt": "../listed/a.py\nPKG-INFO\n",
    }

    account = survey(zipped(tmp_path / "a.zip", files))

    owners = {file.path: file.owner for file in account.files}
    assert owners["old/__init__.py"] == owners["old/sub/mod.py"] == "old-name"
    assert owners["listed/a.py"] == "listed"
    assert owners["single-2.0.egg-info"] == "single"
    assert owners["single.py"] == "single"  # it has its name, and nothing says otherwise
    assert owners["other.py"] == OTHER
    assert account.versions() == {"listed": "3", "old-name": "1.0", "single": "2.0"}
    assert requested(account) == ["listed", "old-name"]


def test_distributions_within_a_distribution_belong_to_it(tmp_path: Path, make_wheel: MakeWheel) -> None:
    inner = unpacked(make_wheel("inner", "1.0", {"inner.py": "x"}))
    outer = make_wheel("outer", "2.0", {f"outer/_vendor/{path}": text for path, text in inner.items()})

    account = survey(zipped(tmp_path / "a.zip", unpacked(outer)))

    assert account.versions() == {"outer": "2.0"}
    assert account.sizes() == {"outer": account.size}


def test_a_file_that_two_claim_goes_to_the_one_whose_size_it_has(
    tmp_path: Path, make_wheel: MakeWheel
) -> None:
    one = make_wheel("aaa", "1", {"ns/__init__.py": "long" * 9, "ns/a.py": ""})
    two = make_wheel("bbb", "1", {"ns/__init__.py": "short", "ns/b.py": ""})

    first = survey(zipped(tmp_path / "1.zip", unpacked(two) | unpacked(one)))
    second = survey(zipped(tmp_path / "2.zip", unpacked(one) | unpacked(two)))

    def owner(account: Account) -> str:
        return next(file.owner for file in account.files if file.path == "ns/__init__.py")

    assert (owner(first), owner(second)) == ("aaa", "bbb")


def test_without_a_record_what_has_the_name_of_a_distribution_is_its_own(
    tmp_path: Path, make_wheel: MakeWheel
) -> None:
    wheel = make_wheel(
        "Alpha-One",
        "1",
        {
            "alpha_one/__init__.py": "1",
            "alpha_one/__pycache__/__init__.cpython-312.pyc": "2",
            "alpha_one.libs/lib.so": "3",
            "alpha/__init__.py": "4",
            "alpha_one_more.py": "5",
        },
    )
    files = {path: text for path, text in unpacked(wheel).items() if not path.endswith("RECORD")}

    account = survey(zipped(tmp_path / "a.zip", files))

    assert [file.path for file in account.files if file.owner == OTHER] == [
        "alpha/__init__.py",
        "alpha_one_more.py",
    ]


def test_what_is_left_of_another_version_does_not_tell_the_version(
    tmp_path: Path, make_wheel: MakeWheel
) -> None:
    old = make_wheel("alpha", "1.9", {"alpha/__init__.py": "old", "alpha/more.py": ""}, requires=("beta",))
    new = make_wheel("alpha", "1.10", {"alpha/__init__.py": "newer", "alpha/more.py": ""})
    beta = make_wheel("beta", "1", {"beta.py": ""})

    account = survey(zipped(tmp_path / "a.zip", unpacked(old, new, beta)))

    assert account.versions() == {"alpha": "1.10", "beta": "1"}
    assert account.needed_by() == {}
    assert account.notes == (
        "a.zip has 2 dist-info folders of alpha (1.10, 1.9); its size is that of all of them together.",
    )


def test_a_bundle_without_metadata_says_so(tmp_path: Path, wheels: tuple[Path, ...]) -> None:
    files = {path: text for path, text in unpacked(*wheels).items() if ".dist-info/" not in path}

    account = survey(zipped(tmp_path / "slim.zip", files))

    assert account.sizes() == {OTHER: account.size}
    assert "dist-info" in account.notes[0]
    assert survey(zipped(tmp_path / "full.zip", unpacked(*wheels))).notes == ()


@pytest.mark.parametrize(
    ("tags", "runtime", "architecture"),
    [
        (("cp312-cp312-manylinux_2_28_aarch64", "cp39-abi3-manylinux2014_aarch64"), "python3.12", "arm64"),
        (("cp312-cp312-linux_x86_64", "cp313-cp313-linux_x86_64"), None, "x86_64"),
        (("cp312-cp312-linux_x86_64", "cp312-cp312-linux_aarch64"), "python3.12", None),
        (("cp39-abi3-linux_x86_64",), None, "x86_64"),
        (("cp399-cp399-linux_x86_64",), None, "x86_64"),
        (("py3-none-any",), None, None),
    ],
)
def test_runtime_and_processor_are_what_all_wheels_agree_on(
    tmp_path: Path,
    make_wheel: MakeWheel,
    tags: tuple[str, ...],
    runtime: str | None,
    architecture: str | None,
) -> None:
    made = [
        make_wheel(f"pkg{number}", "1", {f"p{number}.py": ""}, tag=tag) for number, tag in enumerate(tags)
    ]

    account = survey(zipped(tmp_path / "a.zip", unpacked(*made)))

    assert (account.runtime, account.architecture) == (runtime, architecture)


def test_without_wheels_extension_modules_tell_the_runtime(tmp_path: Path) -> None:
    account = survey(zipped(tmp_path / "a.zip", {"np/core.cpython-311-aarch64-linux-gnu.so": ""}))

    assert (account.runtime, account.architecture) == ("python3.11", "arm64")


def test_markers_are_those_of_the_runtime_that_the_wheels_tell(tmp_path: Path, make_wheel: MakeWheel) -> None:
    requires = (
        'only310; python_version < "3.11"',
        'arm; platform_machine == "aarch64"',
        "windows; os_name=='nt'",
    )
    others = [make_wheel(name, "1", {f"{name}.py": ""}) for name in ("only310", "arm", "windows")]
    tag = "cp310-cp310-manylinux_2_28_aarch64"

    account = survey(
        zipped(
            tmp_path / "a.zip",
            unpacked(make_wheel("p", "1", {"p.py": ""}, requires=requires, tag=tag), *others),
        )
    )

    assert account.needed_by() == {"arm": ("p",), "only310": ("p",)}
    assert requested(account) == ["p", "windows"]


def test_distributions_that_need_each_other_are_all_roots_if_nothing_else_needs_them(
    tmp_path: Path, make_wheel: MakeWheel
) -> None:
    ring = [
        make_wheel("one", "1", {"one.py": ""}, requires=("two",)),
        make_wheel("two", "1", {"two.py": ""}, requires=("one", "leaf")),
        make_wheel("leaf", "1", {"leaf.py": ""}),
    ]

    assert requested(survey(zipped(tmp_path / "a.zip", unpacked(*ring)))) == ["one", "two"]


@pytest.mark.parametrize(
    ("files", "owner"),
    [
        ({"x-1.dist-info/METADATA": b"\xff\xfe\0", "x-1.dist-info/RECORD": b"a.py,,\n\xff,,\n"}, "x"),
        ({"x-1.dist-info/METADATA": "Name: (app)\nVersion: 1\n", "x-1.dist-info/RECORD": "a.py,,"}, OTHER),
        ({"x-1.dist-info/METADATA": "Name: ../../x\n", "x-1.dist-info/RECORD": "a.py,,"}, OTHER),
        ({"~x-1.dist-info/RECORD": "a.py,,"}, OTHER),
        (
            {
                "x-1.dist-info/RECORD": "a.py,sha256=x,9999999999999999999999999\n,,\n\n../../../../etc/passwd,,\n"
            },
            "x",
        ),
        ({"x-1.dist-info/RECORD": "a.py"}, "x"),
        (
            {
                "x-1.dist-info/METADATA": "Name: x\nRequires-Dist: x\nRequires-Dist: x>>;;\n",
                "x-1.dist-info/RECORD": "a.py,,",
            },
            "x",
        ),
        (
            {
                "x-1.dist-info/METADATA": "Name: x\nRequires-Dist: x;" + "(" * 9999,
                "x-1.dist-info/RECORD": "a.py,,",
            },
            "x",
        ),
    ],
)
def test_odd_metadata_tells_what_it_can(tmp_path: Path, files: Mapping[str, bytes], owner: str) -> None:
    account = survey(zipped(tmp_path / "a.zip", {**files, "a.py": "12345"}))

    assert {file.path: file.owner for file in account.files}["a.py"] == owner
    assert sum(account.sizes().values()) == account.size


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"../evil.py": ""}, "leaves the root"),
        ({"/evil.py": ""}, "absolute"),
        ({"a\x1b[2J.py": ""}, "control character"),
        ({"x-1.dist-info/RECORD": f"{'a' * 200_000},,\n"}, "no table"),
        ({f"p{number}-1.dist-info/METADATA": "" for number in range(5001)}, "5,001 distributions"),
    ],
    ids=["leaves", "absolute", "control", "no table", "distributions"],
)
def test_a_hostile_zip_is_refused_in_one_sentence(
    tmp_path: Path, files: Mapping[str, str], message: str
) -> None:
    with pytest.raises(BundleError, match=message) as caught:
        survey(zipped(tmp_path / "a.zip", files))

    assert caught.value.fix
    assert "\x1b" not in str(caught.value)


def test_more_metadata_or_requirements_than_any_bundle_has_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wheels: tuple[Path, ...]
) -> None:
    bundle = zipped(tmp_path / "a.zip", unpacked(*wheels))

    monkeypatch.setattr("slimpack.installed._MOST_REQUIREMENTS", 1)
    with pytest.raises(BundleError, match="requirements"):
        survey(bundle)
    monkeypatch.setattr("slimpack.installed._MOST_TEXT", 100)
    with pytest.raises(BundleError, match="100 bytes of metadata"):
        survey(bundle)


def test_too_many_files_are_refused_before_they_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slimpack.survey._LIMITS", Limits(entries=3, links=True))
    files = {f"{number}.py": "" for number in range(4)}

    with pytest.raises(BundleError, match="4 entries"):
        survey(zipped(tmp_path / "a.zip", files))
    with pytest.raises(BundleError, match="more than 3 files"):
        survey(written(tmp_path / "a", files))
    del files["3.py"]
    assert len(survey(zipped(tmp_path / "b.zip", files)).files) == 3
    assert len(survey(written(tmp_path / "b", files)).files) == 3


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    folder = written(tmp_path / "a", {"a.py": ""})
    os.mkfifo(folder / "pipe")

    with pytest.raises(BundleError, match="pipe"):
        survey(folder)
    with pytest.raises(BundleError, match="no regular file"):
        survey(folder / "pipe")


def test_what_is_no_bundle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.zip").write_text("no zip")

    with pytest.raises(BundleError, match="no zip file"):
        survey(tmp_path / "text.zip")
    with pytest.raises(BundleError, match="No such file"):
        survey(tmp_path / "missing.zip")


def test_names_that_are_no_text_are_refused(tmp_path: Path) -> None:
    folder = written(tmp_path / "a", {"a.py": ""})
    (folder / os.fsdecode(b"\xff.py")).touch()

    with pytest.raises(BundleError, match="not UTF-8"):
        survey(folder)


def test_an_empty_bundle_has_nothing(tmp_path: Path) -> None:
    account = survey(zipped(tmp_path / "a.zip", {}))

    assert (account.size, account.files, account.distributions) == (0, (), ())


@pytest.mark.network
def test_a_zip_of_plain_pip_is_attributed_to_the_byte(tmp_path: Path) -> None:
    target = tmp_path / "target"
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--target",
        target,
    ]
    subprocess.run([*command, "requests[socks]==2.32.*", "six"], check=True, capture_output=True)
    (target / "app.py").write_text("x = 1\n")
    bundle = tmp_path / "pip.zip"
    with zipfile.ZipFile(bundle, "w") as archive:
        for place in sorted(target.rglob("*")):
            archive.write(place, place.relative_to(target))

    account = survey(bundle)

    truth = {
        place.relative_to(target).as_posix(): place.stat().st_size
        for place in target.rglob("*")
        if place.is_file()
    }
    assert {file.path: file.size_after for file in account.files} == truth
    assert [file.path for file in account.files if file.owner == OTHER] == ["app.py"]
    assert requested(account) == ["requests", "six"]
    needed = account.needed_by()
    assert needed["pysocks"] == needed["urllib3"] == ("requests",)
    assert account.sizes()["six"] == sum(size for path, size in truth.items() if "six" in path)
    assert survey(target).sizes() == account.sizes()
