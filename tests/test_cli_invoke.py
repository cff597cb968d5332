"""``slimpack invoke`` as a user runs it; the runtime client is a wheel that the test makes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from runtimes import CLIENT, OWN_RUNTIME, make_tree, make_zip

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import MakeWheel

HANDLER = """
def handler(event, context):
    print("seen", event)
    if event == "raise":
        raise ValueError("a bad event")
    return {"half": event / 2, "list": [event]}
"""


class Desk:
    """A folder with a bundle, events and an index of one wheel."""

    def __init__(self, folder: Path, wheels: Path) -> None:
        self.folder = folder
        self.environment = {
            **{
                name: value
                for name, value in os.environ.items()
                if not name.startswith(("PIP_", "SLIMPACK_"))
            },
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(wheels),
            "SLIMPACK_CACHE_DIR": str(folder / "cache"),
        }

    def file(self, name: str, value: object) -> Path:
        path = self.folder / name
        path.write_text(json.dumps(value), encoding="utf-8")
        return path

    def invoke(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "slimpack", "invoke", *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )


@pytest.fixture
def desk(tmp_path: Path, make_wheel: MakeWheel) -> Desk:
    made = make_wheel(
        "awslambdaric", "4.0", {"awslambdaric/__init__.py": "", "awslambdaric/__main__.py": CLIENT}
    )
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    made.rename(wheels / made.name)
    make_zip(tmp_path / "b.zip", {"app.py": HANDLER})
    return Desk(tmp_path, wheels)


RUN = ("b.zip", "--handler", "app.handler", "--runtime", OWN_RUNTIME)


def test_answers_that_are_as_expected_end_with_0(desk: Desk) -> None:
    one, two = desk.file("one.json", 1), desk.file("two.json", 3.0)
    wanted = [
        desk.file("a.json", {"list": [1], "half": 0.5}),
        desk.file("b.json", {"half": 1.5, "list": [3]}),
    ]

    done = desk.invoke(*RUN, "--event", one, "--event", two, "--expect", wanted[0], "--expect", wanted[1])

    assert done.returncode == 0, done.stdout + done.stderr
    assert f"b.zip  app.handler on {OWN_RUNTIME}, x86_64\n" in done.stdout
    assert "  | seen 1\n" in done.stdout
    assert '    "half": 0.5,\n' in done.stdout
    assert "  as a.json says\n" in done.stdout
    assert done.stdout.endswith("ok: 2 of 2 events answered, 2 as expected\n")


def test_another_answer_ends_with_1_and_shows_the_difference(desk: Desk) -> None:
    event, wanted = desk.file("one.json", 1), desk.file("wanted.json", {"half": 0.4999, "list": [1]})
    options = (*RUN, "--event", event, "--expect", wanted)

    exact, close = desk.invoke(*options), desk.invoke(*options, "--float-tolerance", "0.001")

    assert exact.returncode == 1
    assert "  differs from wanted.json at $.half: expected 0.4999, given 0.5\n" in exact.stdout
    assert exact.stdout.endswith("FAILED: 1 of 1 events answered, 0 as expected\n")
    assert close.returncode == 0
    assert close.stdout.endswith("ok: 1 of 1 events answered, 1 as expected within 0.001\n")


def test_an_exception_ends_with_1_and_shows_the_traceback(desk: Desk) -> None:
    done = desk.invoke(*RUN, "--event", desk.file("bad.json", "raise"), "--quiet")

    assert done.returncode == 1
    assert "  ValueError: a bad event\n" in done.stdout
    assert "app.py" in done.stdout
    assert done.stderr == ""


def test_init_alone_is_run_where_there_is_no_event(desk: Desk) -> None:
    fine, broken = desk.invoke(*RUN), desk.invoke("b.zip", "--handler", "app.none", "--runtime", OWN_RUNTIME)

    assert fine.returncode == 0
    assert "started, and no event was given" in fine.stdout
    assert broken.returncode == 1
    assert "has no attribute 'none'" in broken.stdout


def test_json_has_everything(desk: Desk) -> None:
    done = desk.invoke(*RUN, "--event", desk.file("one.json", 1), "--repeat", "2", "--json")

    told = json.loads(done.stdout)
    assert done.returncode == 0
    assert (told["schema_version"], told["failed"], len(told["runs"])) == (1, False, 2)
    assert json.loads(told["runs"][0]["outcomes"][0]["answer"]) == {"half": 0.5, "list": [1]}
    assert told["medians"]["init_seconds"] > 0
    assert told["runs"][0]["not_emulated"][0]["reason"]


def test_options_reach_the_function(desk: Desk) -> None:
    source = "import os\ndef handler(event, context): return [os.environ[name] for name in event]"
    make_tree(desk.folder / "bundle", {"app.py": source})
    event = desk.file("one.json", ["STAGE", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "AWS_EXECUTION_ENV"])
    wanted = desk.file("wanted.json", ["a=b", "256", f"AWS_Lambda_{OWN_RUNTIME}"])

    done = desk.invoke(
        "bundle", *RUN[1:], "--event", event, "--expect", wanted, "--env", "STAGE=a=b", "--memory", "256"
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert not (desk.folder / "bundle" / "__pycache__").exists()


def test_what_a_handler_prints_cannot_steer_a_terminal(desk: Desk) -> None:
    make_zip(
        desk.folder / "b.zip",
        {"app.py": "print('\\x1b[2J\\x07')\ndef handler(event, context): return '\\x1b[0m'"},
    )

    done = desk.invoke(*RUN, "--event", desk.file("one.json", 1))

    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    assert "\x07" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("b.zip", "--runtime", OWN_RUNTIME), "no handler is named"),
        (("b.zip", "--handler", "app.handler"), "no manifest beside the bundle"),
        (("none.zip", *RUN[1:]), "none.zip: cannot be read"),
        (("text.zip", *RUN[1:]), "is no zip file"),
        ((*RUN, "--event", "none.json"), "none.json cannot be read"),
        ((*RUN, "--event", "text.zip"), "text.zip is no JSON"),
        ((*RUN, "--event", "deep.json"), "deep.json is no JSON"),
        ((*RUN, "--event", "large.json"), "6,291,558 bytes, Lambda takes 6,291,556"),
        ((*RUN, "--expect", "one.json"), "0 events, but 1 expected answers"),
        ((*RUN, "--env", "_HANDLER=x"), "Lambda reserves _HANDLER"),
        ((*RUN, "--memory", "64"), "64 is not in the range"),
        ((*RUN, "--timeout", "0"), "0"),
        ((*RUN[:3], "--runtime", "python2.7"), "unknown runtime"),
        ((*RUN, "--arch", "arm64", "--interpreter", sys.executable), "the bundle for aarch64"),
    ],
)
def test_bad_usage_ends_with_2(desk: Desk, arguments: tuple[str, ...], message: str) -> None:
    (desk.folder / "text.zip").write_text("no zip, no JSON", encoding="utf-8")
    (desk.folder / "deep.json").write_text("[" * 200_000, encoding="utf-8")
    (desk.folder / "large.json").write_text('"' + "x" * 6_291_556 + '"', encoding="utf-8")
    desk.file("one.json", 1)

    done = desk.invoke(*arguments)

    assert done.returncode == 2, done.stdout
    assert message in done.stderr
    assert "Traceback" not in done.stderr
