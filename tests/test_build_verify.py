"""A build runs what it has built, as a user sees it; the runtime client is a wheel that the test makes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import zipfile
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from runtimes import CLIENT
from shop import RUNTIME, Shop, write_wheel

if TYPE_CHECKING:
    from conftest import MakeElf, MakeWheel
    from shop import Done

CLIENT_FILES = {"awslambdaric/__init__.py": "", "awslambdaric/__main__.py": CLIENT}

READER = """
from pathlib import Path
NAME = "-".join(("unit", "table"))

def read(key):
    table = Path(__file__).with_name("data") / f"{NAME}.txt"
    return dict(line.split() for line in table.read_text().splitlines())[key]
"""
"""Opens a file whose name no string in it tells."""

LAZY = {"units/__init__.py": READER, "units/data/unit-table.txt": "inch 2.54\nfoot 30.48\n"}
EAGER = {**LAZY, "units/__init__.py": f"{READER}\nINCH = read('inch')\n"}

APP = """
from units import read

def handler(event, context):
    return {"unit": event["unit"], "cm": float(read(event["unit"]))}
"""

EVENT, ANSWER = {"unit": "inch"}, {"unit": "inch", "cm": 2.54}
RUN = ("--handler", "app.handler", "--event", "event.json")
EXPECT = (*RUN, "--expect", "answer.json")
TABLE = "units/data/unit-table.txt"
KEEP = f"""{TABLE} was removed by units/tables. Keep it, with keep = ["/{TABLE}"]"""


@pytest.fixture(scope="module")
def pantry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What all shops share: a folder with the client's wheel, and a cache, so that it is resolved once."""
    folder = tmp_path_factory.mktemp("pantry")
    write_wheel(folder, "awslambdaric", "4.0", CLIENT_FILES)
    return folder


def furnish(shop: Shop, pantry: Path) -> Shop:
    """Makes a shop verify: with a client to do so, an app and an event."""
    shop.environment |= {
        "SLIMPACK_VERIFY": "1",
        "SLIMPACK_JOBS": "1",
        "SLIMPACK_CACHE_DIR": str(pantry / "cache"),
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(pantry),
    }
    (shop.folder / "app").mkdir()
    write(shop, "app/app.py", APP)
    write(shop, "event.json", json.dumps(EVENT))
    write(shop, "answer.json", json.dumps(ANSWER))
    return shop


@pytest.fixture
def desk(shop: Shop, pantry: Path) -> Shop:
    """A shop that verifies."""
    return furnish(shop, pantry)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, pantry: Path) -> tuple[Shop, Done]:
    """A shop with a bundle that works, and what its build said; nobody builds there again."""
    shop = furnish(Shop(tmp_path_factory.mktemp("good")), pantry)
    write_wheel(shop.folder / "wheels", "units", "1", LAZY)
    shop.require("units")
    return shop, build(shop, *EXPECT)


@pytest.fixture
def good(first: tuple[Shop, Done], tmp_path: Path) -> Shop:
    """A copy of that shop."""
    shop = copy(first[0])
    shop.folder, shop.environment = tmp_path / "copy", dict(shop.environment)
    shutil.copytree(first[0].folder, shop.folder)
    return shop


def write(shop: Shop, name: str, text: str) -> None:
    (shop.folder / name).write_text(text)


def rule(shop: Shop, folder: str = "units/data/") -> None:
    """Writes a rule that takes a folder of ``units``."""
    (shop.folder / "rules").mkdir()
    write(
        shop,
        "rules/units.toml",
        f"""
        [[rule]]
        name = "tables"
        action = "remove"
        paths = ["{folder}"]
        examples = {{ match = ["{folder}any"] }}
        tolerates = ["lazy-import", "mention"]
        reason = "Nothing needs them, says the test; it only shows what happens if that is wrong."
        evidence = [{{ version = "1", files = 1, bytes = 1, shown = "Run." }}]
        """,
    )


def build(shop: Shop, *options: str) -> Done:
    source = ("--source", "app") if "--layer" not in options else ()
    rules = ("--rules", "rules") if (shop.folder / "rules").exists() else ()
    return shop.build(*source, *rules, *options)


def codes(manifest: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Returns the findings about runs by their code."""
    return {one["code"]: one for one in manifest["findings"] if one["code"].startswith("SLP4")}


def out(shop: Shop) -> set[str]:
    return {path.name for path in (shop.folder / "out").iterdir()}


GOOD = {"app.zip", "app.manifest.json", "pylock.app.toml"}
FAILED = {"app.failed.zip", "app.failed.manifest.json", "pylock.app.toml"}


def test_what_was_run_is_on_record_and_in_the_report(first: tuple[Shop, Done]) -> None:
    desk, done = first

    assert done.code == 0, done.out + done.err
    record = desk.manifest()["verification"]
    assert [(one["what"], one["name"], one.get("problem")) for one in record["tried"]] == [
        ("import", "units", None),
        ("event", "event.json", None),
    ]
    assert [json.loads(one) for one in record["answers"]] == [ANSWER]
    assert record["init_seconds"] > 0
    assert record["peak_bytes"] > 0
    assert record["not_emulated"]
    assert codes(desk.manifest()) == {}
    assert "Run as on Lambda, on this machine\n  1 of 1 packages import\n  init " in done.out
    assert '{"unit": "inch", "cm": 2.54}\n' in done.out
    assert out(desk) == GOOD


def test_a_removed_file_that_an_event_misses_is_named_with_its_rule_and_its_way_back(
    good: Shop,
) -> None:
    desk = good
    bundle = (desk.folder / "out/app.zip").read_bytes()
    rule(desk)

    done = build(desk, *EXPECT)

    assert done.code == 1
    assert out(desk) == GOOD | FAILED
    assert (desk.folder / "out/app.zip").read_bytes() == bundle
    found = codes(desk.manifest("out/app.failed.manifest.json"))["SLP403"]
    assert found["place"] == "app.handler"
    assert "event event.json fails: FileNotFoundError" in found["message"]
    assert found["fix"].startswith(KEEP)
    assert "error SLP403 app.handler" in done.out
    assert "bundle    out/app.failed.zip (verification failed)\n" in done.out
    assert "manifest  out/app.failed.manifest.json\n" in done.out


def test_a_removed_file_that_an_import_misses_is_named_likewise(desk: Shop, make_wheel: MakeWheel) -> None:
    desk.stock(make_wheel("units", "1", EAGER))
    desk.require("units")
    rule(desk)

    done = build(desk)

    assert done.code == 1
    assert out(desk) == FAILED
    found = codes(desk.manifest("out/app.failed.manifest.json"))["SLP402"]
    assert found["place"] == "units"
    assert "`import units` fails: FileNotFoundError" in found["message"]
    assert found["fix"].startswith(KEEP)


def test_the_line_that_a_finding_names_brings_the_file_back(good: Shop) -> None:
    desk = good
    rule(desk)
    write(desk, "slimpack.toml", f'keep = ["/{TABLE}"]\n')

    done = build(desk, *EXPECT)

    assert done.code == 0, done.out
    assert desk.files()[TABLE]["rule"] == "config:keep"


@pytest.mark.parametrize("files", [LAZY, EAGER])
def test_repair_brings_the_file_back_says_so_and_does_away_with_the_failure(
    desk: Shop, make_wheel: MakeWheel, files: dict[str, str]
) -> None:
    desk.stock(make_wheel("units", "1", files))
    desk.require("units")
    rule(desk)
    if files == EAGER:
        assert build(desk, *EXPECT).code == 1

    done = build(desk, *EXPECT, "--repair-rules")

    assert done.code == 0, done.out
    assert out(desk) == GOOD
    record = desk.files()[TABLE]
    assert record["decision"] == "kept"
    assert record["overruled"]["rule"] == "units/tables"
    assert record["overruled"]["by"]["need"] == "run"
    assert "Overruled: kept although a rule removes it" in done.out
    assert TABLE in done.out
    assert TABLE in desk.names()


def test_repair_does_not_contradict_the_configuration(good: Shop) -> None:
    desk = good

    done = build(desk, *EXPECT, "--repair-rules", "--remove", "units/data/")

    assert done.code == 1
    found = codes(desk.manifest("out/app.failed.manifest.json"))["SLP403"]
    assert found["fix"] == f"{TABLE} was removed by a pattern of the configuration: take that out."
    assert "come back" not in done.err


def test_another_answer_fails_and_shows_the_difference(good: Shop) -> None:
    desk = good
    write(desk, "answer.json", json.dumps(ANSWER | {"cm": 2.5}))

    done, close = build(desk, *EXPECT), build(desk, *EXPECT, "--float-tolerance", "0.1")

    assert (done.code, close.code) == (1, 0)
    assert "event.json: the answer differs at $.cm: expected 2.5, given 2.54" in done.out
    assert out(desk) == GOOD


@pytest.mark.parametrize(
    ("handler", "said", "tried"),
    [
        ("ap.handler", "the bundle has no module 'ap' (did you mean 'app'?)", ["import"]),
        ("app.handel", "the module has no function 'handel' (did you mean 'handler'?)", ["import", "event"]),
    ],
)
def test_a_handler_that_is_not_there_is_found_and_if_only_a_function_is_missing_by_the_run(
    good: Shop, handler: str, said: str, tried: list[str]
) -> None:
    desk = good
    done = build(desk, "--handler", handler, "--event", "event.json")

    assert done.code == 1
    manifest = desk.manifest("out/app.failed.manifest.json")
    assert said in codes(manifest)["SLP401"]["message"]
    assert [one["what"] for one in manifest["verification"]["tried"]] == tried


def test_a_function_that_only_the_run_can_see_is_no_error(good: Shop) -> None:
    hidden = "import sys\nsys.modules[__name__].handler = lambda event, context: event\n"
    write(good, "app/app.py", hidden)

    done = build(good, *RUN)

    assert done.code == 0, done.out
    assert codes(good.manifest()) == {}
    assert [json.loads(one) for one in good.manifest()["verification"]["answers"]] == [EVENT]


def test_a_run_of_imports_alone_says_what_was_not_emulated_as_well(good: Shop) -> None:
    done = build(good)

    assert done.code == 0
    assert any(one.startswith("base system: ") for one in good.manifest()["verification"]["not_emulated"])
    assert "\n  not as there: base system, " in done.out


def test_a_large_answer_is_cut_in_the_manifest(good: Shop) -> None:
    write(good, "app/app.py", "def handler(event, context): return 'ü' * 100_000\n")

    assert build(good, *RUN).code == 0

    (answer,) = good.manifest()["verification"]["answers"]
    assert len(answer.encode()) < 66_000
    assert answer.endswith("... (600,002 bytes)")


def test_an_interpreter_that_is_none_is_told_before_anything_else(good: Shop) -> None:
    write(good, "requirements.txt", "--no-index\nnobody-has-this\n")

    done = build(good, "--interpreter", "/bin/true")

    assert done.code == 2
    assert "is no Python interpreter that runs here" in done.err
    assert "nobody-has-this" not in done.err


VANDAL = """
import os, pathlib
USER = os.geteuid()
try:
    pathlib.Path(__file__).chmod(0o666)
    pathlib.Path(__file__).write_text("")
except OSError:
    pass
def handler(event, context): return USER
"""


def test_without_namespaces_root_runs_it_as_another_user_or_not_at_all(good: Shop) -> None:
    unable = ("setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin")
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("needs root, and setpriv to take a right from it")
    system = Path("/usr/bin", RUNTIME)
    named = ("--interpreter", str(system)) if system.exists() else ()
    write(good, "app/app.py", VANDAL)
    command = good.command("build", "requirements.txt", "--runtime", RUNTIME, "--source", "app", "-o")
    tries = [("out/one.zip",), ("out/two.zip", *named)]

    for options in tries:
        done = subprocess.run(
            [*unable, *command, *options, *RUN],
            cwd=good.folder,
            env=good.environment,
            check=False,
            capture_output=True,
        )
        assert done.returncode == 0, done.stderr
        manifest = good.manifest(options[0].replace("zip", "manifest.json"))
        if manifest["verification"] is None:
            assert "root cannot become another user" in codes(manifest)["SLP405"]["message"]
        else:
            assert manifest["verification"]["answers"] == ["993"]
        with zipfile.ZipFile(good.folder / options[0]) as bundle:
            assert bundle.read("app.py").decode() == VANDAL


def test_an_import_that_fails_in_a_plain_install_too_is_only_noted(desk: Shop, make_wheel: MakeWheel) -> None:
    extra = {"extra/__init__.py": "import one_that_nobody_has\n"}
    desk.stock(make_wheel("units", "1", LAZY), make_wheel("extra", "1", extra))
    desk.require("units", "extra")

    done = build(desk, *EXPECT)

    assert done.code == 0, done.out
    found = codes(desk.manifest())
    assert set(found) == {"SLP406"}
    assert (found["SLP406"]["severity"], found["SLP406"]["place"]) == ("note", "extra")
    assert "No module named 'one_that_nobody_has'" in found["SLP406"]["message"]
    assert "1 of 2 packages import" in done.out
    assert out(desk) == GOOD


def test_an_import_that_fails_only_in_the_bundle_fails_though_nothing_explains_it(
    desk: Shop, make_wheel: MakeWheel
) -> None:
    count = "import pathlib\nif not list(pathlib.Path(__file__).parent.glob('data/*')): raise ValueError(1)\n"
    desk.stock(make_wheel("units", "1", {**LAZY, "units/__init__.py": count}))
    desk.require("units")
    rule(desk)

    done = build(desk, "--repair-rules")

    assert done.code == 1
    found = codes(desk.manifest("out/app.failed.manifest.json"))["SLP402"]
    assert found["message"] == "`import units` fails: ValueError: 1; in a plain install it does not"
    assert "--disable a rule" in found["fix"]


def test_a_module_that_kills_its_process_does_not_take_the_others_with_it(
    desk: Shop, make_wheel: MakeWheel
) -> None:
    deadly = {"deadly.py": "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n"}
    desk.stock(make_wheel("units", "1", LAZY), make_wheel("deadly", "1", deadly))
    desk.require("units", "deadly")

    done = build(desk, *EXPECT)

    assert done.code == 0, done.out  # a plain install dies as well
    tried = {one["name"]: one.get("problem") for one in desk.manifest()["verification"]["tried"]}
    assert tried["units"] is None
    assert "signal: killed" in tried["deadly"]
    assert set(codes(desk.manifest())) == {"SLP406"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--arch", "arm64"), "no interpreter for "),
        (("--runtime", "python3.14"), "no interpreter for python3.14 on x86_64 was found"),
    ],
)
def test_what_cannot_be_run_here_is_noted_as_not_checked_and_cached_all_the_same(
    desk: Shop, make_wheel: MakeWheel, options: tuple[str, ...], said: str
) -> None:
    from slimpack.resolve import interpreters

    if "python3.14" in options and interpreters.find((3, 14)):
        pytest.skip("there is an interpreter")
    desk.stock(make_wheel("units", "1", LAZY))
    desk.require("units")

    done = build(desk, *options, *EXPECT)

    assert done.code == 0, done.out
    found = codes(desk.manifest())
    assert set(found) == {"SLP405"}
    assert found["SLP405"]["message"].startswith("not checked: ")
    assert said in found["SLP405"]["message"]
    assert desk.manifest()["verification"] is None
    assert "note SLP405 imports and events: not checked" in done.out
    assert "Run as on Lambda" not in done.out
    assert "not run" not in done.out
    assert " (from the cache)" in build(desk, *options, *EXPECT).out


def profiled(shop: Shop, runtime: str = RUNTIME, architecture: str = "x86_64") -> tuple[str, ...]:
    """Writes a profile by which the table was read, and returns the options that insist on it."""
    seen = {"sha256": None, "init": 1, "invoke": 0}
    modules = {"app": "app.py", "units": "units/__init__.py"}
    profile = {
        "schema_version": 1,
        "slimpack": "0",
        "runtime": runtime,
        "architecture": architecture,
        "runs": [{"bundle": "", "handler": "app.handler", "events": ["event.json"], "times": 1}],
        "modules": [
            {"name": name, "file": path, "own": [0.1], "whole": [0.1], **seen}
            for name, path in modules.items()
        ],
        "files": [{"path": TABLE, "size": len(LAZY[TABLE]), **seen}],
        "libraries": [],
        "not_recorded": [],
    }
    write(shop, "seen.json", json.dumps(profile))
    return (*RUN, "--profile", "seen.json", "--drop-cold")


LOOKS_UP = """
from units import read

def handler(event, context):
    if event["unit"] == "ell":
        import history
        return history.ELL
    return {"unit": event["unit"], "cm": float(read(event["unit"]))}
"""


def test_what_only_a_function_of_the_app_imports_goes_if_no_run_has_used_it(
    good: Shop, make_wheel: MakeWheel
) -> None:
    write(good, "app/app.py", LOOKS_UP)
    good.stock(make_wheel("history", "1", {"history/__init__.py": "ELL = 114.3\n"}))
    good.require("units", "history")

    done = build(good, *profiled(good))

    assert done.code == 0, done.out + done.err
    assert good.files()["history/__init__.py"]["decision"] == "removed"
    told = good.run("explain", "history/__init__.py", "-m", "out/app.manifest.json").out
    assert "profile/cold" in told
    # and an event that needs it fails
    write(good, "event.json", '{"unit": "ell"}')
    missed = build(good, *profiled(good))
    assert missed.code == 1
    assert "history/__init__.py was removed by profile/cold" in " ".join(missed.out.split())


@pytest.mark.parametrize(("runtime", "architecture"), [(RUNTIME, "arm64"), ("python3.14", "x86_64")])
def test_nothing_is_removed_by_a_profile_where_nothing_can_be_run(
    good: Shop, runtime: str, architecture: str
) -> None:
    from slimpack.resolve import interpreters

    if architecture == "x86_64" and interpreters.find((3, 14)):
        pytest.skip("there is an interpreter")
    shutil.rmtree(good.folder / "out")

    done = build(good, "--runtime", runtime, "--arch", architecture, *profiled(good, runtime, architecture))

    assert done.code == 2
    assert done.err.startswith(
        "error: --drop-cold: what is removed by a profile has to be tried; no interpreter"
    )
    assert "--interpreter" in done.err
    assert not (good.folder / "out").exists()


def test_what_a_profile_removes_and_no_client_could_try_lies_aside(good: Shop) -> None:
    options = profiled(good)
    assert build(good, *options).code == 0
    shutil.rmtree(good.folder / "out")
    good.environment["PIP_FIND_LINKS"] = str(good.folder / "wheels")
    desk = own_cache(good)

    done = build(desk, *options)

    assert done.code == 1
    assert out(desk) == FAILED
    found = codes(desk.manifest("out/app.failed.manifest.json"))["SLP405"]
    assert found["severity"] == "error"
    assert found["message"].startswith(
        "what is removed by a profile has to be tried; the runtime client cannot"
    )


def test_a_missing_handler_is_found_even_where_nothing_can_be_run(good: Shop) -> None:
    desk = good

    done = build(desk, "--arch", "arm64", "--handler", "app.missing")

    assert done.code == 1
    assert set(codes(desk.manifest("out/app.failed.manifest.json"))) == {"SLP401", "SLP405"}


def test_without_a_client_the_bundle_is_there_and_noted_as_not_checked(
    good: Shop,
) -> None:
    good.environment["PIP_FIND_LINKS"] = str(good.folder / "wheels")
    desk = own_cache(good)

    done, again = build(desk, *EXPECT), build(desk, *EXPECT)

    assert done.code == 0, done.out
    assert "from the cache" not in again.out
    assert "the runtime client cannot be had" in codes(desk.manifest())["SLP405"]["message"]


def test_nothing_is_run_if_that_is_not_wanted(desk: Shop, make_wheel: MakeWheel) -> None:
    desk.stock(make_wheel("units", "1", {**LAZY, "units/__init__.py": "raise ValueError\n"}))
    desk.require("units")

    done = build(desk, *EXPECT, "--no-verify")

    assert done.code == 0, done.out
    assert desk.manifest()["verification"] is None
    assert codes(desk.manifest()) == {}
    assert "Run as on Lambda" not in done.out
    assert "\nnot run (--no-verify)\n" in done.out


def test_a_handler_is_looked_for_even_if_nothing_is_run(good: Shop) -> None:
    done = build(good, "--handler", "app.missing", "--no-verify")

    assert done.code == 1
    assert set(codes(good.manifest("out/app.failed.manifest.json"))) == {"SLP401"}


def own_cache(shop: Shop) -> Shop:
    shop.environment["SLIMPACK_CACHE_DIR"] = str(shop.folder / "cache")
    return shop


def test_the_cache_keeps_the_record_of_what_works_and_nothing_that_failed(good: Shop) -> None:
    desk = own_cache(good)

    first, again = build(desk, *EXPECT), build(desk, *EXPECT)
    record = desk.manifest()["verification"]
    write(desk, "answer.json", "{}")
    wrong, wrong_again = build(desk, *EXPECT), build(desk, *EXPECT)

    assert [one.code for one in (first, again, wrong, wrong_again)] == [0, 0, 1, 1]
    assert [" (from the cache)" in one.out for one in (first, again, wrong, wrong_again)] == [0, 1, 0, 0]
    assert [json.loads(one) for one in record["answers"]] == [ANSWER]
    assert "Run as on Lambda" in again.out


def test_a_dry_run_that_fails_leaves_nothing(desk: Shop, make_wheel: MakeWheel) -> None:
    desk.stock(make_wheel("units", "1", EAGER))
    desk.require("units")
    rule(desk)

    done = build(desk, "--dry-run")

    assert done.code == 1
    assert "SLP402" in done.out
    assert not (desk.folder / "out").exists()


def test_a_directory_that_fails_lies_aside_as_well(desk: Shop, make_wheel: MakeWheel) -> None:
    desk.stock(make_wheel("units", "1", EAGER))
    desk.require("units")
    rule(desk)
    options = ("--rules", "rules", "--runtime", RUNTIME, "-o", "out/app")

    failed = desk.run("build", "requirements.txt", *options)
    between = out(desk)
    mended = desk.run("build", "requirements.txt", *options, "--repair-rules")

    assert (failed.code, mended.code) == (1, 0), mended.out
    assert between == {"app.failed", "app.failed.manifest.json", "pylock.app.toml"}
    assert out(desk) == {"app", "app.manifest.json", "pylock.app.toml"}
    assert not list((desk.folder / "out").rglob("__pycache__"))


def test_a_layer_is_imported_from_where_layers_are(desk: Shop, make_wheel: MakeWheel) -> None:
    desk.stock(make_wheel("units", "1", EAGER))
    desk.require("units")

    fine = build(desk, "--layer")
    rule(desk)
    broken = build(desk, "--layer")
    mended = build(desk, "--layer", "--repair-rules")

    assert (fine.code, broken.code, mended.code) == (0, 1, 0), broken.out
    assert "1 of 1 packages import" in fine.out
    assert KEEP in " ".join(broken.out.split())
    assert f"python/{TABLE}" in desk.files()


def test_a_handler_in_a_layer_is_found_there(good: Shop) -> None:
    desk = good

    done = desk.build("--source", "app", "--layer", *EXPECT)

    assert done.code == 0, done.out
    assert [json.loads(one) for one in desk.manifest()["verification"]["answers"]] == [ANSWER]


def test_a_library_that_only_an_event_loads_is_named(
    desk: Shop, make_wheel: MakeWheel, make_elf: MakeElf
) -> None:
    library = make_elf("int answer(void) { return 42; }", "-shared", "-fPIC", name="libanswer.so")
    load = "import ctypes, pathlib\ndef read(_): return ctypes.CDLL(str(next(iter(P))))\n"
    load += "P = [pathlib.Path(__file__).with_name('libs') / ('lib' + 'answer' + '.so')]\n"
    content = library.read_bytes()
    desk.stock(make_wheel("units", "1", {"units/__init__.py": load, "units/libs/libanswer.so": content}))
    desk.require("units")
    rule(desk, "units/libs/")

    done = build(desk, *RUN)

    assert done.code == 1
    fix = codes(desk.manifest("out/app.failed.manifest.json"))["SLP403"]["fix"]
    assert fix.startswith("units/libs/libanswer.so was removed by units/tables. Keep it, with keep = [")


def against(shop: Shop, *options: str) -> Done:
    arguments = ("out/app.zip", "--runtime", RUNTIME, "--handler", "app.handler", "--event", "event.json")
    return shop.run("invoke", *arguments, "--against", *options)


def test_a_bundle_that_does_the_same_as_a_plain_install_is_told_so(desk: Shop, make_wheel: MakeWheel) -> None:
    noisy = f"{LAZY['units/__init__.py']}\nimport time\nprint('loaded at', time.time(), __file__)\n"
    desk.stock(make_wheel("units", "1", {**LAZY, "units/__init__.py": noisy}))
    desk.require("units")
    assert build(desk, *EXPECT).code == 0

    done = against(desk, "plain")

    assert done.code == 0, done.out + done.err
    assert (
        "against a plain install\n  no difference in answers, exceptions and what was printed\n" in done.out
    )
    assert "not compared in what differs from run to run there: the log of init\n" in done.out
    assert done.out.endswith("ok: 1 of 1 events answered, as a plain install\n")


def test_the_first_difference_from_a_plain_install_ends_with_1(desk: Shop, make_wheel: MakeWheel) -> None:
    lenient = (
        f"{READER}\ntry:\n    INCH = read('inch')\nexcept OSError:\n    print('no tables')\n    INCH = 0\n"
    )
    write(desk, "app/app.py", "import units\ndef handler(event, context): return {'inch': units.INCH}\n")
    desk.stock(make_wheel("units", "1", {**LAZY, "units/__init__.py": lenient}))
    desk.require("units")
    rule(desk)
    assert build(desk, *RUN).code == 0  # nothing fails

    done = against(desk, "plain")

    assert done.code == 1
    assert "  differs in the log of init, line 1\n  there  nothing\n  here   no tables\n" in done.out
    assert done.out.endswith("FAILED: 1 of 1 events answered, not as a plain install\n")


def test_a_bundle_is_compared_with_any_directory(good: Shop) -> None:
    desk = good
    (desk.folder / "other").mkdir()
    write(desk, "other/app.py", "def handler(event, context): return {'unit': 'inch', 'cm': 2.5}\n")

    done = against(desk, "other", "--json")

    assert done.code == 1
    told = json.loads(done.out)["against"]["comparison"]["parting"]
    assert told == {"where": "the answer to event.json, at $.cm", "other": "2.5", "bundle": "2.54"}


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        ("out/app.manifest.json", "no manifest beside the bundle that says what it was built from"),
        ("out/pylock.app.toml", "the lock of the bundle cannot be read"),
    ],
)
def test_a_plain_install_needs_manifest_and_lock(good: Shop, gone: str, said: str) -> None:
    desk = good
    (desk.folder / gone).unlink()

    done = against(desk, "plain")

    assert done.code == 2
    assert said in done.err


def test_a_plain_install_of_another_lock_is_refused(good: Shop) -> None:
    desk = good
    with (desk.folder / "out/pylock.app.toml").open("a") as lock:
        lock.write("# another\n")

    done = against(desk, "plain")

    assert done.code == 2
    assert "is not the lock that the bundle was built from" in done.err
