"""The command line as a user meets it: ways in, ways out, and what the terminal gets to see."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from samples import account_of, book, file, inventory

from slimpack.cli import program
from slimpack.manifest import to_json

if TYPE_CHECKING:
    from collections.abc import Sequence

ENVIRONMENT = {
    name: value for name, value in os.environ.items() if not name.startswith(("SLIMPACK_", "PYTHON"))
}

FULL = Path("/dev/full")


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "app.manifest.json"
    path.write_text(to_json(account_of(inventory(file("pkg/a.py"), file("pkg/b.py")), book(()))))
    return path


class Cli(Protocol):
    """Runs the program in this process; returns its exit code, and what it wrote to stdout and stderr."""

    def __call__(self, *arguments: str) -> tuple[int, str, str]: ...


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    for name in [name for name in os.environ if name.startswith("SLIMPACK_")]:
        monkeypatch.delenv(name)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["slimpack", *arguments])
        return program.run(), *capsys.readouterr()

    return call


def run(
    *arguments: str | Path, code: str | None = None, redirect: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs the program, or Python code in its place, with the redirections of a shell."""
    start = ["-m", "slimpack"] if code is None else ["-c", textwrap.dedent(code)]
    command = [sys.executable, *start, *arguments]
    return subprocess.run(
        ["/bin/sh", "-c", f'"$@" {redirect}', "sh", *command],
        env=ENVIRONMENT | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def ends(done: subprocess.CompletedProcess[str]) -> tuple[int, list[str]]:
    """Returns the exit code and the lines on stderr."""
    return done.returncode, done.stderr.splitlines()


def interrupting(module: str) -> str:
    """Returns code that runs the program and presses Ctrl-C while a module is about to be imported."""
    return f"""
        import os, signal, sys
        signal.signal(signal.SIGINT, signal.default_int_handler)

        class Finder:
            def find_spec(self, name, path=None, target=None):
                if name == {module!r}:
                    os.kill(os.getpid(), signal.SIGINT)

        sys.meta_path.insert(0, Finder())
        from slimpack.cli import main
        main()
    """


@pytest.mark.parametrize(
    "module", ["slimpack.cli.program", "click.core", "slimpack.model", "slimpack.manifest"]
)
def test_ctrl_c_is_one_line_even_while_the_program_is_loaded(manifest: Path, module: str) -> None:
    done = run("report", manifest, code=interrupting(module))

    assert ends(done) == (2, ["error: interrupted; nothing half-written is left"])
    assert done.stdout == ""


def test_the_program_starts_without_what_only_some_verbs_need() -> None:
    loaded = """
        import sys
        from slimpack.cli import main
        try:
            main()
        finally:
            heavy = ("pydantic", "rich", "lief", "packaging", "slimpack.build", "slimpack.resolve")
            print([name for name in heavy if name in sys.modules], file=sys.stderr)
    """

    assert ends(run("--help", code=loaded)) == (0, ["[]"])
    assert ends(run("build", "--help", code=loaded)) == (0, ["[]"])


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_leaves_is_no_error(manifest: Path, unbuffered: str) -> None:
    # given more than fits into a pipe
    big = account_of(inventory(*(file(f"pkg/{number}.py") for number in range(3000))), book(()))
    manifest.write_text(to_json(big))

    # when the reader takes a byte of it and leaves
    done = run(code=READER_THAT_LEAVES.format(manifest=str(manifest)), PYTHONUNBUFFERED=unbuffered)

    # then the program ends as others do, and says nothing
    assert done.stdout.split() == ["141", "b''"]


READER_THAT_LEAVES = """
    import subprocess, sys
    command = [sys.executable, "-m", "slimpack", "report", "--json", {manifest!r}]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    child.stdout.read(1)
    child.stdout.close()
    print(child.wait(), child.stderr.read())
"""


@pytest.mark.skipif(not FULL.exists(), reason="the system has no /dev/full")
@pytest.mark.parametrize(
    "arguments", [("report",), ("report", "--json"), ("explain", "*", "-m"), ("--help",)]
)
def test_a_full_disk_under_stdout_is_one_error(manifest: Path, arguments: Sequence[str]) -> None:
    code, lines = ends(run(*arguments, manifest, redirect=f">{FULL}"))

    assert code == 2
    assert (len(lines), "No space left on device" in lines[0]) == (2, True)


@pytest.mark.skipif(not FULL.exists(), reason="the system has no /dev/full")
@pytest.mark.parametrize(
    ("redirect", "verb", "code"),
    [
        (f"2>{FULL}", "report none.json", 2),
        ("2>&-", "report none.json", 2),
        (f"2>{FULL}", "report", 2),
        (f">{FULL} 2>{FULL}", "--help", 2),
        (">&- 2>&- <&-", "--help", 0),
    ],
)
def test_an_error_that_nobody_can_be_told_keeps_its_exit_code(redirect: str, verb: str, code: int) -> None:
    done = run(*verb.split(), redirect=redirect)

    assert (done.returncode, done.stderr) == (code, "")


def test_a_closed_stdout_is_not_taken_for_a_file(manifest: Path) -> None:
    before = manifest.read_bytes()

    assert ends(run("report", manifest, redirect=">&-")) == (0, [])
    assert manifest.read_bytes() == before


def test_letters_that_the_terminal_does_not_know_are_no_fault(manifest: Path) -> None:
    done = run("report", manifest, PYTHONIOENCODING="latin-1")

    assert ends(done) == (0, [])
    assert "????" in done.stdout


HOSTILE = {
    "no JSON": "{'a'",
    "empty": "",
    "deep": "[" * 200_000,
    "a list": "[]",
    "of a later slimpack": '{"schema_version": 2, "slimpack": "9"}',
    "endless": '{"schema_version": "\\u001b[31m' + "9" * 100_000 + '", "slimpack": "9"}',
    "of wrong types": '{"schema_version": 1, "slimpack": "\\u001b[31m", "files": {"a": 1}, "totals": "\\u009b"}',
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("verb", [("report",), ("explain", "*", "-m"), ("rule", "numpy/tests", "-m")])
def test_what_is_no_manifest_is_one_clear_error(
    manifest: Path, cli: Cli, verb: Sequence[str], text: str
) -> None:
    manifest.write_text(text)

    code, _, errors = cli(*verb, str(manifest))

    lines = errors.splitlines()
    assert code == 2
    assert lines[0].startswith(f"error: {manifest}: ")
    assert lines[1].startswith("  fix: ")
    assert len(lines) == 2
    assert len(lines[0]) < 2000
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize(
    "verb", [("report",), ("report", "--json"), ("explain", "*", "-m"), ("explain", "*", "--json", "-m")]
)
def test_names_in_a_manifest_cannot_steer_the_terminal(manifest: Path, cli: Cli, verb: Sequence[str]) -> None:
    plain: dict[str, Any] = json.loads(manifest.read_text())
    for one in plain["files"]:
        one["path"] += "\x1b[2J\x9b31m\u202e\ud800\n"
        one["owner"] += "\x1b[2J\x9b31m\u202e\ud800\n"
    for one in plain["distributions"]:
        one["name"] += "\x1b[2J\x9b31m\u202e\ud800\n"
    manifest.write_text(json.dumps(plain))

    code, shown, errors = cli(*verb, str(manifest))

    assert (code, errors) == (0, "")
    assert "[2J" in shown
    assert all(line.isprintable() for line in shown.splitlines())


def test_the_option_that_names_a_manifest_is_the_same_for_all_verbs(
    manifest: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    verbs = (("explain", "pkg/a.py"), ("rule", "numpy/tests"))
    for verb in verbs:
        assert cli(*verb, "--manifest", str(manifest))[0] == 0
        assert "the path is empty" in cli(*verb, "-m", "")[2]

    monkeypatch.setenv("SLIMPACK_MANIFEST", str(manifest))
    for verb in verbs:
        assert cli(*verb)[0] == 0


def test_bash_completes_verbs_and_values(tmp_path: Path) -> None:
    if shutil.which("bash") is None:
        pytest.skip("bash is not installed")
    command = tmp_path / "slimpack"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m slimpack "$@"\n')
    command.chmod(0o755)
    (tmp_path / "slimpack.toml").write_text(
        "jobs = 0"
    )  # a broken configuration must not show while one types
    script = """
        eval "$(slimpack completion bash)"
        COMP_WORDS=(slimpack exp); COMP_CWORD=1
        _slimpack_completion slimpack
        COMP_WORDS=(slimpack build --arch ""); COMP_CWORD=3
        _slimpack_completion slimpack
        echo "${COMPREPLY[@]}"
    """

    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=ENVIRONMENT | {"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.stdout.split(), done.stderr) == (["explain", "x86_64", "arm64"], "")


@pytest.mark.parametrize(
    ("shell", "word"), [("bash", "complete "), ("zsh", "compdef"), ("fish", "complete --")]
)
def test_each_shell_has_its_script(shell: str, word: str) -> None:
    done = run("completion", shell)

    assert ends(done) == (0, [])
    assert word in done.stdout
    assert "_SLIMPACK_COMPLETE" in done.stdout
