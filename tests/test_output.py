from __future__ import annotations

import errno
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from slimpack import manifest, output
from slimpack.errors import Interrupted, OutputError
from slimpack.output import Claim, claim, writing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

TIMEOUT = 60
"""Seconds after which a process of a test counts as hung; none takes one."""


def claimed(destination: Path) -> AbstractContextManager[Claim]:
    return claim(destination, manifest="app.manifest.json", lock="pylock.app.toml")


def build(destination: Path, content: str) -> None:
    with claimed(destination) as places:
        places.bundle.write_text(content)
        places.manifest.write_text(f"manifest of {content}")
        places.lock.write_text(f"lock of {content}")


def tree(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text() if path.is_file() else "/"
        for path in folder.rglob("*")
    }


def built(content: str) -> dict[str, str]:
    return {
        "app.zip": content,
        "app.manifest.json": f"manifest of {content}",
        "pylock.app.toml": f"lock of {content}",
    }


def account(*paths: str, form: str = "directory") -> str:
    """Returns a manifest of a bundle with some files."""
    return manifest.to_json(
        manifest.Manifest(
            schema_version=manifest.SCHEMA_VERSION,
            slimpack="0",
            format="zip" if form == "zip" else "directory",
            target=manifest.TargetRecord(
                kind="lambda",
                runtime="python3.13",
                architecture="arm64",
                system="Amazon Linux 2023",
                glibc="2.34",
                size_limit=1,
            ),
            lock=manifest.LockRecord(sha256="0" * 64, resolver="pip"),
            rules_sha256="0" * 64,
            totals=manifest.Totals(files_before=0, files_after=0, size_before=0, size_after=0),
            distributions=(),
            rules=(),
            offers=(),
            findings=(),
            files=tuple(
                manifest.FileRecord(path=path, owner="(app)", decision="kept", size_before=0, size_after=0)
                for path in paths
            ),
        )
    )


def build_directory(destination: Path, *paths: str) -> None:
    with claimed(destination) as places:
        for path in paths:
            (places.bundle / path).parent.mkdir(parents=True, exist_ok=True)
            (places.bundle / path).write_text(path)
        places.manifest.write_text(account(*paths))


# handing over


def test_what_the_block_leaves_is_handed_over_and_nothing_else(tmp_path: Path) -> None:
    with claimed(tmp_path / "app.zip") as places:
        assert not places.bundle.exists()
        (places.folder / "sandbox").mkdir()
        places.bundle.write_text("bundle")
        assert places.bundle.stat().st_dev == tmp_path.stat().st_dev
        assert not (tmp_path / "app.zip").exists()
    assert tree(tmp_path) == {"app.zip": "bundle"}


def test_a_previous_output_is_replaced(tmp_path: Path) -> None:
    build(tmp_path / "app.zip", "old")
    build(tmp_path / "app.zip", "new")
    assert tree(tmp_path) == built("new")


def test_what_the_block_did_not_write_stays(tmp_path: Path) -> None:
    build(tmp_path / "app.zip", "old")
    with claimed(tmp_path / "app.zip") as places:
        places.bundle.write_text("new")
    assert tree(tmp_path) == built("old") | {"app.zip": "new"}


def fail(destination: Path, text: str) -> None:
    with claimed(destination) as places:
        places.bundle.write_text(text)
        places.manifest.write_text(account())
        places.mark_failed()


def test_a_bundle_that_works_puts_an_end_to_the_one_that_failed(tmp_path: Path) -> None:
    fail(tmp_path / "app.zip", "bad")
    failed = {"app.failed.zip", "app.failed.manifest.json"}
    assert set(tree(tmp_path)) == failed
    build(tmp_path / "app.zip", "good")
    assert tree(tmp_path) == built("good")


def test_what_is_only_called_like_a_failed_bundle_stays(tmp_path: Path) -> None:
    (tmp_path / "app.failed.zip").write_text("mine")
    build(tmp_path / "app.zip", "good")
    (tmp_path / "app.failed.manifest.json").write_text("{}")
    build(tmp_path / "app.zip", "good")
    assert tree(tmp_path) == {
        **built("good"),
        "app.failed.zip": "mine",
        "app.failed.manifest.json": "{}",
    }


def test_parents_are_created(tmp_path: Path) -> None:
    build(tmp_path / "some" / "where" / "app.zip", "x")
    assert tree(tmp_path / "some" / "where") == built("x")


def test_parents_go_again_when_nothing_is_handed_over(tmp_path: Path) -> None:
    with claimed(tmp_path / "some" / "where" / "app.zip"):
        pass
    assert tree(tmp_path) == {}


def test_a_relative_destination_is_where_the_build_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with claimed(Path("app.zip")) as places:
        monkeypatch.chdir("/")
        places.bundle.write_text("bundle")
    assert tree(tmp_path) == {"app.zip": "bundle"}


@pytest.mark.parametrize("name", ["lock", "new", "old", "work", "..."])
def test_a_destination_may_have_any_name(tmp_path: Path, name: str) -> None:
    build_directory(tmp_path / name, "handler.py")
    build_directory(tmp_path / name, "handler.py", "more.py")
    assert tree(tmp_path / name) == {"handler.py": "handler.py", "more.py": "more.py"}


def test_outputs_honour_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        build_directory(tmp_path / "app", "handler.py")
    finally:
        os.umask(before)
    assert (tmp_path / "app").stat().st_mode & 0o777 == 0o750
    assert (tmp_path / "app.manifest.json").stat().st_mode & 0o777 == 0o640


# failing


class FaultError(Exception):
    """Anything that can go wrong in a build."""


@pytest.mark.parametrize("fault", [FaultError, KeyboardInterrupt, SystemExit])
def test_a_failure_leaves_the_previous_output(tmp_path: Path, fault: type[BaseException]) -> None:
    build(tmp_path / "app.zip", "old")
    with pytest.raises(fault), claimed(tmp_path / "app.zip") as places:  # noqa: PT012 -- a build that fails late
        places.bundle.write_text("new")
        (places.folder / "half").write_text("done")
        raise fault
    assert tree(tmp_path) == built("old")


def test_a_failure_takes_the_parents_away_that_were_created(tmp_path: Path) -> None:
    with pytest.raises(FaultError), claimed(tmp_path / "some" / "where" / "app.zip"):
        raise FaultError
    assert tree(tmp_path) == {}


def test_a_failed_hand_over_is_undone(tmp_path: Path) -> None:
    # given a bundle and a manifest to replace, and a third file whose folder is missing
    new = tmp_path / "new"
    new.mkdir()
    finals = (tmp_path / "out" / "app", tmp_path / "out" / "app.json", tmp_path / "missing" / "third")
    for final in finals:
        (new / final.name).write_text("new")
    finals[0].mkdir(parents=True)
    (finals[0] / "handler.py").write_text("old")
    finals[1].write_text("old")
    # when the third move fails
    with pytest.raises(FileNotFoundError):
        output._hand_over(new, finals, stale=(), aside=tmp_path / "old")
    # then the first two are undone
    assert tree(tmp_path / "out") == {"app": "/", "app/handler.py": "old", "app.json": "old"}


SLEEPER = """
import sys, time
from pathlib import Path
from slimpack.output import claim
with claim(Path(sys.argv[1]), manifest="app.manifest.json", lock="pylock.app.toml") as places:
    places.bundle.write_text("half")
    (places.folder / "sandbox").mkdir()
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A build of ``app.zip`` that has begun and does not end."""
    process = subprocess.Popen(
        [sys.executable, "-c", SLEEPER, tmp_path / "app.zip"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_the_previous_output(
    tmp_path: Path, sleeper: subprocess.Popen[str], number: signal.Signals
) -> None:
    (tmp_path / "app.zip").write_text("old")
    sleeper.send_signal(number)
    _, errors = sleeper.communicate(timeout=TIMEOUT)
    assert ("KeyboardInterrupt" if number == signal.SIGINT else f"stopped by {number.name}") in errors
    assert tree(tmp_path) == {"app.zip": "old"}


def test_a_killed_build_leaves_no_trouble(tmp_path: Path, sleeper: subprocess.Popen[str]) -> None:
    (tmp_path / "app.zip").write_text("old")
    sleeper.kill()
    sleeper.wait(TIMEOUT)
    assert (tmp_path / "app.zip").read_text() == "old"
    build(tmp_path / "app.zip", "new")
    assert tree(tmp_path) == built("new")


def test_a_second_build_fails_at_once_and_the_first_goes_on(
    tmp_path: Path, sleeper: subprocess.Popen[str]
) -> None:
    with pytest.raises(OutputError, match="another build is writing it") as caught:
        build(tmp_path / "app.zip", "second")
    assert caught.value.where == str(tmp_path / "app.zip")
    assert caught.value.fix
    assert sleeper.poll() is None
    with pytest.raises(OutputError, match="another build"), claimed(tmp_path / "app"):
        pass  # the directory has the same manifest
    build(tmp_path / "other.zip", "x")
    assert (tmp_path / "other.zip").read_text() == "x"


def _race(destination: Path, number: int, results: multiprocessing.Queue[str]) -> None:
    for turn in range(30):
        try:
            build(destination, f"{number}.{turn}")
        except OutputError as error:
            results.put(error.what)
        else:
            results.put("built")


def test_many_builds_of_one_output_leave_one_whole(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    racers = [context.Process(target=_race, args=(tmp_path / "app.zip", n, results)) for n in range(4)]
    for racer in racers:
        racer.start()
    said = [results.get(timeout=TIMEOUT) for _ in range(4 * 30)]
    for racer in racers:
        racer.join(TIMEOUT)
    assert set(said) <= {"built", "another build is writing it"}
    assert "built" in said
    assert tree(tmp_path) == built((tmp_path / "app.zip").read_text())


def test_a_signal_waits_for_the_hand_over() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), output._uninterrupted():  # noqa: PT012 -- the point is what goes on
        signal.raise_signal(signal.SIGINT)
        done.append("hand over")
    assert done == ["hand over"]


def test_handlers_are_as_before_afterwards(tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    build(tmp_path / "app.zip", "x")
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


def test_termination_becomes_an_exception() -> None:
    with pytest.raises(Interrupted, match="SIGTERM"), output.terminable():
        signal.raise_signal(signal.SIGTERM)


def test_a_hang_up_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with output.terminable():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


# directories


def test_a_directory_is_handed_over_and_replaced(tmp_path: Path) -> None:
    build_directory(tmp_path / "app", "handler.py", "old/module.py")
    build_directory(tmp_path / "app", "handler.py")
    assert sorted(tree(tmp_path)) == ["app", "app.manifest.json", "app/handler.py"]


def test_an_empty_directory_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    build_directory(tmp_path / "app", "handler.py")
    assert (tmp_path / "app" / "handler.py").exists()


def test_bytecode_that_a_run_left_is_no_reason_to_refuse(tmp_path: Path) -> None:
    build_directory(tmp_path / "app", "handler.py")
    (tmp_path / "app" / "__pycache__").mkdir()
    (tmp_path / "app" / "__pycache__" / "handler.cpython-313.pyc").touch()
    build_directory(tmp_path / "app", "handler.py")
    assert sorted(tree(tmp_path / "app")) == ["handler.py"]


def refused(destination: Path) -> OutputError:
    before = tree(destination.parent)
    with pytest.raises(OutputError) as caught, claimed(destination):
        pytest.fail("claimed")
    assert caught.value.fix
    assert tree(destination.parent) == before
    return caught.value


def test_a_folder_of_the_user_is_not_deleted(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "thesis.tex").touch()
    assert "thesis.tex" in refused(tmp_path / "app").what


@pytest.mark.parametrize(
    "text", [account("handler.py", form="zip"), "{}", "no JSON", '{"format": "directory"}']
)
def test_a_manifest_of_something_else_makes_no_folder_ours(tmp_path: Path, text: str) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "handler.py").touch()
    (tmp_path / "app.manifest.json").write_text(text)
    assert "handler.py" in refused(tmp_path / "app").what


def test_files_that_came_later_are_not_deleted(tmp_path: Path) -> None:
    build_directory(tmp_path / "app", "package/handler.py")
    (tmp_path / "app" / "package" / "model.bin").touch()
    assert "package/model.bin" in refused(tmp_path / "app").what


def test_links_and_folders_that_came_later_are_not_deleted(tmp_path: Path) -> None:
    build_directory(tmp_path / "app", "package/handler.py")
    (tmp_path / "models").mkdir()
    (tmp_path / "app" / "package" / "models").symlink_to(tmp_path / "models")
    assert "package/models" in refused(tmp_path / "app").what

    (tmp_path / "app" / "package" / "models").unlink()
    (tmp_path / "app" / "mine").mkdir()
    assert "mine" in refused(tmp_path / "app").what


@pytest.mark.parametrize("name", [".", "..", "../sub"])
def test_the_folder_that_the_user_is_in_is_not_pulled_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "app" / "sub").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "app" / "sub")

    with pytest.raises(OutputError, match="is the folder you are in") as caught, claimed(Path(name)):
        pytest.fail("claimed")

    assert (caught.value.where, sorted(tree(tmp_path))) == (name, ["app", "app/sub"])


@pytest.mark.parametrize("output_name", ["/", "/.."])
def test_the_root_is_no_place(output_name: str) -> None:
    with pytest.raises(OutputError, match="no place"), claimed(Path(output_name)):
        pytest.fail("claimed")


# places that cannot be written


def test_a_file_where_a_folder_should_come(tmp_path: Path) -> None:
    (tmp_path / "app").touch()
    assert refused(tmp_path / "app").what == "exists and is no folder"


def test_a_folder_where_a_file_should_come(tmp_path: Path) -> None:
    (tmp_path / "app.zip").mkdir()
    assert refused(tmp_path / "app.zip").what == "exists and is no file"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "pylock.app.toml").mkdir()
    assert refused(tmp_path / "other" / "app.zip").what == "exists and is no file"


def test_a_symbolic_link_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "real.zip").touch()
    (tmp_path / "app.zip").symlink_to("real.zip")
    assert refused(tmp_path / "app.zip").what == "is a symbolic link"


def test_somebody_elses_working_folder_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").touch()
    (tmp_path / ".app.slimpack").symlink_to("precious")
    assert "somebody else" in refused(tmp_path / "app.zip").what


def test_a_parent_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="a file and no folder"):
        build(tmp_path / "file" / "sub" / "app.zip", "x")


@pytest.mark.skipif(not Path("/sys/kernel").exists(), reason="no sysfs")
def test_a_folder_that_nobody_can_write() -> None:
    with pytest.raises(OutputError) as caught:
        build(Path("/sys/app.zip"), "x")
    assert caught.value.where == "/sys"
    assert caught.value.fix


def test_a_folder_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    if os.access(tmp_path, os.W_OK):
        pytest.skip("root may write everywhere")
    with pytest.raises(OutputError, match="permission denied") as caught:
        build(tmp_path / "app.zip", "x")
    assert caught.value.where == str(tmp_path)
    with pytest.raises(OutputError, match="permission denied"):
        build(tmp_path / "sub" / "app.zip", "x")


def test_a_name_that_is_too_long(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="too long"):
        build(tmp_path / f"{'x' * 300}.zip", "x")
    assert tree(tmp_path) == {}


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mounting, check=False, capture_output=True).returncode:
        pytest.skip("may not mount here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_leaves_the_previous_output(tiny_disk: Path) -> None:
    build(tiny_disk / "app.zip", "old")
    with (
        pytest.raises(OutputError, match="no space is left") as caught,
        claimed(tiny_disk / "app.zip") as places,
        writing(places.bundle),
    ):
        places.bundle.write_bytes(bytes(100_000))
    assert caught.value.fix
    assert tree(tiny_disk) == built("old")


def test_a_mount_point_is_refused_before_the_work_begins(tiny_disk: Path) -> None:
    assert refused(tiny_disk).what == "is a mount point"


def test_a_read_only_disk_is_named(tiny_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", tiny_disk], check=True)
    with pytest.raises(OutputError, match="file system is read-only"):
        build(tiny_disk / "app.zip", "x")
    assert tree(tiny_disk) == {}


def test_a_file_that_grows_too_large(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(OutputError, match="grows larger"), writing(tmp_path / "file"):
            (tmp_path / "file").write_bytes(bytes(20_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_errors_without_a_sentence_of_their_own_keep_the_systems() -> None:
    with pytest.raises(OutputError, match=os.strerror(errno.EIO)), writing(Path("x")):
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_only_failures_of_the_system_are_translated(tmp_path: Path) -> None:
    with writing(tmp_path):
        pass
    with pytest.raises(FaultError), writing(tmp_path):
        raise FaultError
