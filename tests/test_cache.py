from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from slimpack import cache
from slimpack.cache import Cache, Pruned, clean, default_root, info, open_cache, prune
from slimpack.errors import OutputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

TIMEOUT = 60
"""Seconds after which a process of a test counts as hung; none takes one."""

FILES = {"bundle.zip": b"zip" * 1000, "manifest.json": b"{}"}


def key(name: object) -> str:
    return hashlib.sha256(str(name).encode()).hexdigest()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def opened(root: Path) -> Iterator[Cache]:
    with open_cache(root) as found:
        yield found


def put(opened: Cache, name: object, files: dict[str, bytes] = FILES) -> None:
    source = opened.root.parent / "source"
    source.mkdir(exist_ok=True)
    for file, content in files.items():
        (source / file).write_bytes(content)
    assert opened.put_bundle(key(name), {file: source / file for file in files}) is None


def get(opened: Cache, name: object, folder: Path) -> dict[str, bytes] | None:
    """Returns the files of a bundle, which then are in a folder; None if the cache has it not."""
    folder.mkdir()
    found = opened.get_bundle(key(name), {file: folder / file for file in FILES})
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert found == bool(files)
    return files or None


def put_wheel(opened: Cache, name: object, size: int = 10) -> Path:
    folder = opened.wheel_store / key(name)
    folder.mkdir()
    (folder / f"{name}-1-py3-none-any.whl").write_bytes(bytes(size))
    return folder


def age(folder: Path, seconds: int) -> None:
    """Makes an entry look as if it had last been used some seconds after the epoch."""
    os.utime(folder, (seconds, seconds))


# bundles


def test_a_bundle_comes_back_as_it_was(opened: Cache, tmp_path: Path) -> None:
    put(opened, "a")
    assert get(opened, "a", tmp_path / "out") == FILES


def test_a_bundle_that_was_never_stored_is_not_there(opened: Cache, tmp_path: Path) -> None:
    put(opened, "a")
    assert get(opened, "b", tmp_path / "out") is None


def test_what_is_done_to_a_copy_does_not_reach_the_cache(opened: Cache, tmp_path: Path) -> None:
    put(opened, "a")
    get(opened, "a", tmp_path / "out")
    with (tmp_path / "out" / "bundle.zip").open("r+b") as file:
        file.write(b"changed")
    assert get(opened, "a", tmp_path / "again") == FILES


def test_what_is_done_to_the_source_does_not_reach_the_cache(opened: Cache, tmp_path: Path) -> None:
    put(opened, "a")
    with (tmp_path / "source" / "bundle.zip").open("r+b") as file:
        file.write(b"changed")
    assert get(opened, "a", tmp_path / "out") == FILES


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("bundle.zip", FILES["bundle.zip"][:-1] + b"?"),
        ("bundle.zip", FILES["bundle.zip"][:-1]),
        ("bundle.zip", None),
        ("index.json", None),
        ("index.json", b""),
        ("index.json", b'{"bundle.zip": "0"}'),
        ("index.json", b"[1, 2]"),
        ("index.json", b"7"),
        ("index.json", b"\xff"),
        ("index.json", b"[" * 100_000),
    ],
)
def test_a_damaged_bundle_is_never_handed_out(
    opened: Cache, tmp_path: Path, file: str, content: bytes | None
) -> None:
    put(opened, "a")
    entry = opened.root / "bundles" / key("a")
    if content is None:
        (entry / file).unlink()
    else:
        (entry / file).write_bytes(content)
    assert get(opened, "a", tmp_path / "out") is None
    assert not entry.exists()
    put(opened, "a")
    assert get(opened, "a", tmp_path / "again") == FILES


def test_a_bundle_that_lacks_a_wanted_file_is_not_the_one(opened: Cache, tmp_path: Path) -> None:
    put(opened, "a", {"bundle.zip": b"zip"})
    assert get(opened, "a", tmp_path / "out") is None


def test_who_stores_second_changes_nothing(opened: Cache, tmp_path: Path) -> None:
    put(opened, "a")
    put(opened, "a", {"other": b"never seen"})
    assert get(opened, "a", tmp_path / "out") == FILES
    assert list((opened.root / "temporary").iterdir()) == []


def test_a_copy_that_cannot_be_written_is_the_outputs_fault(opened: Cache, tmp_path: Path) -> None:
    put(opened, "a")
    with pytest.raises(OutputError) as caught:
        opened.get_bundle(key("a"), {name: tmp_path / "missing" / name for name in FILES})
    assert caught.value.where == str(tmp_path / "missing" / "bundle.zip")


def test_a_copy_can_go_to_another_file_system(tmp_path: Path) -> None:
    elsewhere = Path("/dev/shm") / f"slimpack-{os.getpid()}"  # noqa: S108 -- a file system that is another one
    if not elsewhere.parent.is_dir():
        pytest.skip("no /dev/shm")
    (tmp_path / "file").write_bytes(bytes(range(256)) * 9999)
    try:
        cache.copy(tmp_path / "file", elsewhere)
        assert elsewhere.read_bytes() == (tmp_path / "file").read_bytes()
    finally:
        elsewhere.unlink(missing_ok=True)


# pruning


def test_what_was_not_used_for_the_longest_time_goes_first(root: Path, tmp_path: Path) -> None:
    with open_cache(root) as opened:
        for number, name in enumerate("abc"):
            put(opened, name)
            age(root / "bundles" / key(name), number)
            age(put_wheel(opened, name), number)
        get(opened, "a", tmp_path / "out")
        opened.touch_wheels([key("b"), key("unknown")])
    before = info(root)
    total = before.wheel_bytes + before.bundle_bytes
    assert (before.wheels, before.bundles) == (3, 3)
    assert prune(root, limit_bytes=total) == Pruned(entries=0, bytes=0)
    removed = prune(root, limit_bytes=total - 11)  # the wheel of a, then the bundle of b
    assert removed.entries == 2
    after = info(root)
    assert after.wheel_bytes + after.bundle_bytes == total - removed.bytes
    assert sorted(path.name for path in (root / "wheels").iterdir()) == sorted([key("b"), key("c")])
    assert sorted(path.name for path in (root / "bundles").iterdir()) == sorted([key("a"), key("c")])


def test_a_build_prunes_to_the_limit_when_it_is_done(root: Path) -> None:
    with open_cache(root, limit_bytes=25) as opened:
        for number in range(4):
            age(put_wheel(opened, number), number)
        assert info(root).wheels == 4
    assert info(root).wheels == 2
    assert (root / "wheels" / key(3)).exists()


def test_nothing_is_pruned_while_a_build_uses_the_cache(root: Path) -> None:
    with open_cache(root) as opened:
        put_wheel(opened, "a")
        with open_cache(root, limit_bytes=0):
            pass  # another build, done earlier
        with pytest.raises(OutputError, match="another slimpack is using") as caught:
            prune(root, limit_bytes=0)
        assert caught.value.fix
        with pytest.raises(OutputError, match="another slimpack is using"):
            clean(root)
        assert info(root).wheels == 1
    assert prune(root, limit_bytes=0).entries == 1


def test_cleaning_leaves_what_is_not_ours(root: Path) -> None:
    with open_cache(root) as opened:
        put(opened, "a")
        put_wheel(opened, "a")
    foreign = [root / "README", root / "wheels" / "notes", root / "bundles" / ("z" * 64) / "file"]
    for path in foreign:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (root / "wheels" / key("link")).symlink_to(root.parent)
    assert clean(root).entries == 2
    assert all(path.exists() for path in foreign)
    assert info(root) == cache.CacheInfo(root=root, wheels=0, wheel_bytes=0, bundles=0, bundle_bytes=0)


def test_empty_entries_are_cleaned_too(root: Path) -> None:
    with open_cache(root) as opened:
        put_wheel(opened, "a", size=0)
        put_wheel(opened, "b", size=0)
    assert clean(root) == Pruned(entries=2, bytes=0)


@pytest.mark.parametrize("tag", [None, "Signature: 8a477f597d28d172789f06886806bc55\n# of another program\n"])
def test_a_folder_that_is_no_cache_of_ours_is_not_touched(root: Path, tag: str | None) -> None:
    (root / "wheels" / key("a")).mkdir(parents=True)
    if tag:
        (root / "CACHEDIR.TAG").write_text(tag)
    with pytest.raises(OutputError, match="no cache of slimpack"):
        prune(root, limit_bytes=0)
    with pytest.raises(OutputError, match="no cache of slimpack"):
        clean(root)
    with open_cache(root) as opened:
        assert opened.problem is not None
        assert "no cache of slimpack" in opened.problem
    assert sorted(path.name for path in root.iterdir()) == ["CACHEDIR.TAG", "wheels"][tag is None :]


def test_asking_creates_nothing(root: Path) -> None:
    assert info(root).bundles == 0
    assert prune(root, limit_bytes=0) == clean(root) == Pruned(entries=0, bytes=0)
    assert not root.exists()


def test_the_folder_is_tagged(opened: Cache) -> None:
    assert (opened.root / "CACHEDIR.TAG").read_bytes()[:43] == b"Signature: 8a477f597d28d172789f06886806bc55"


# caches that cannot be used


def check_that_a_build_does_without(opened: Cache, tmp_path: Path) -> None:
    assert opened.problem is not None
    source = tmp_path / "bundle.zip"
    source.write_bytes(b"zip")
    assert opened.put_bundle(key("a"), {"bundle.zip": source}) == opened.problem
    assert opened.get_bundle(key("a"), {"bundle.zip": tmp_path / "out"}) is False
    put_wheel(opened, "a")
    opened.touch_wheels([key("a")])


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_build_goes_on_where_there_can_be_no_cache(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    with open_cache(tmp_path / place) as opened:
        check_that_a_build_does_without(opened, tmp_path)
        store = opened.wheel_store
    assert not store.exists()


def test_a_build_goes_on_where_the_cache_cannot_be_written(root: Path, tmp_path: Path) -> None:
    with open_cache(root):
        pass
    (root / "lock").chmod(0o444)
    root.chmod(0o555)
    try:
        if os.access(root, os.W_OK):
            pytest.skip("root may write everywhere")
        with open_cache(root) as opened:
            check_that_a_build_does_without(opened, tmp_path)
    finally:
        root.chmod(0o755)


def test_a_build_goes_on_when_the_cache_is_full(opened: Cache, tmp_path: Path) -> None:
    source = tmp_path / "bundle.zip"
    source.write_bytes(bytes(20_000))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        problem = opened.put_bundle(key("a"), {"bundle.zip": source})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert problem is not None
    assert str(opened.root) in problem
    assert list((opened.root / "temporary").iterdir()) == []
    assert info(opened.root).bundles == 0


def test_a_failed_build_is_not_the_caches_fault(root: Path) -> None:
    with pytest.raises(OutputError, match="the disk"), open_cache(root):
        raise OutputError("the disk")


# several processes


WRITER = """
import sys, time
from pathlib import Path
from slimpack import cache
def halfway(source, destination):
    destination.write_bytes(b"half")
    print("ready", flush=True)
    time.sleep(60)
cache.copy = halfway
with cache.open_cache(Path(sys.argv[1])) as opened:
    opened.put_bundle(sys.argv[2], {"bundle.zip": Path(sys.argv[0])})
"""


def test_a_build_that_is_killed_while_it_stores_leaves_no_trouble(root: Path, tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, root, key("a")], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        with pytest.raises(OutputError, match="using the cache"):
            prune(root, limit_bytes=0)
        writer.send_signal(signal.SIGKILL)
    with open_cache(root) as opened:
        assert get(opened, "a", tmp_path / "out") is None
        put(opened, "a")
        assert get(opened, "a", tmp_path / "again") == FILES
        assert len(list((root / "temporary").iterdir())) == 1
    assert list((root / "temporary").iterdir()) == []
    assert info(root).bundles == 1


def _use(root: Path, number: int, folder: Path, results: multiprocessing.Queue[str]) -> None:
    """Stores and fetches the same few bundles as all others, in a cache that has room for hardly one of them."""
    try:
        folder.mkdir()
        for turn in range(15):
            name = str(turn % 3)
            content = name.encode() * 5000
            (folder / "source").write_bytes(content)
            with open_cache(root, limit_bytes=6000) as opened:
                assert opened.problem is None, opened.problem
                wheel = folder / f"{turn}"
                if opened.get_bundle(key(name), {"file": wheel}):
                    assert wheel.read_bytes() == content
                else:
                    assert opened.put_bundle(key(name), {"file": folder / "source"}) is None
                    assert opened.get_bundle(key(name), {"file": wheel})
                    assert wheel.read_bytes() == content
        results.put("fine")
    except BaseException as fault:
        results.put(f"{number}: {fault!r}")
        raise


def test_many_builds_share_a_cache_that_is_pruned_all_the_time(root: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    users = [context.Process(target=_use, args=(root, n, tmp_path / str(n), results)) for n in range(4)]
    for user in users:
        user.start()
    said = [results.get(timeout=TIMEOUT) for _ in users]
    for user in users:
        user.join(TIMEOUT)
    assert said == ["fine"] * 4
    prune(root, limit_bytes=6000)
    assert info(root).bundles == 1
    assert sorted(path.name for path in root.iterdir()) == [
        "CACHEDIR.TAG",
        "bundles",
        "lock",
        "temporary",
        "wheels",
    ]


# where it is


def test_the_environment_says_where_the_cache_is() -> None:
    home = {"HOME": "/home/ada"}
    assert default_root(home) == Path("/home/ada/.cache/slimpack")
    assert default_root(home | {"XDG_CACHE_HOME": "/var/cache/ada"}) == Path("/var/cache/ada/slimpack")
    assert default_root(home | {"XDG_CACHE_HOME": "relative"}) == Path("/home/ada/.cache/slimpack")
    assert default_root(home | {"XDG_CACHE_HOME": ""}) == Path("/home/ada/.cache/slimpack")
    assert default_root(home | {"XDG_CACHE_HOME": "/x", "SLIMPACK_CACHE_DIR": "here"}) == Path("here")


def test_without_a_home_there_is_no_default(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", unknown)
    with pytest.raises(UsageError) as caught:
        default_root({})
    assert caught.value.fix


def test_the_index_speaks_of_every_file(opened: Cache) -> None:
    put(opened, "a")
    entry = opened.root / "bundles" / key("a")
    assert json.loads((entry / "index.json").read_text()) == {
        name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()
    }
