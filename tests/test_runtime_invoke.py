"""The sandbox, the stage and the session together: real processes, with and without a room of their own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from runtimes import make_stage

from slimpack.runtime.invoke import Session, medians, run
from slimpack.runtime.stage import StaysRootError

if TYPE_CHECKING:
    from collections.abc import Callable

    from slimpack.runtime.invoke import Outcome, Run


@pytest.fixture(params=[True, False], ids=["room", "open"])
def invoke(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Run]:
    """Runs the source of a handler over events, both in a room and without one."""

    def start(
        source: str,
        *events: object,
        files: dict[str, str] | None = None,
        **function: Any,  # noqa: ANN401 -- fields of Function
    ) -> Run:
        stage = make_stage(tmp_path, {"app.py": source, **(files or {})}, room=request.param, **function)
        done = run(stage, [json.dumps(event).encode() for event in events])
        refused = [one.reason for one in done.not_emulated if one.what == "room"]
        if request.param and refused:
            pytest.skip(refused[0])
        return done

    return start


@pytest.fixture
def in_room(invoke: Callable[..., Run], request: pytest.FixtureRequest) -> Callable[..., Run]:
    if not request.node.callspec.params["invoke"]:
        pytest.skip("needs a room")
    return invoke


def only(done: Run) -> Outcome:
    (outcome,) = done.outcomes
    return outcome


def answer(done: Run) -> Any:  # noqa: ANN401 -- JSON
    outcome = only(done)
    assert outcome.fault is None, outcome
    return json.loads(outcome.answer or "")


def fault_of(done: Run) -> tuple[str, str]:
    fault = only(done).fault
    assert fault is not None
    return fault.type, fault.message.partition("Error: ")[2] or fault.message


def test_events_go_to_one_warm_process(invoke: Callable[..., Run]) -> None:
    source = """
        import os
        count = 0
        print("loading")
        def handler(event, context):
            global count
            count += 1
            print("event", event)
            return [os.getpid(), count, event]
    """
    done = invoke(source, {"a": 1}, "ü", None)

    answers = [json.loads(one.answer or "") for one in done.outcomes]
    assert [one[1:] for one in answers] == [[1, {"a": 1}], [2, "ü"], [3, None]]
    assert len({one[0] for one in answers}) == 1
    assert done.starts[0].log.text == "loading\n"
    assert [one.log.text for one in done.outcomes] == ["event {'a': 1}\n", "event ü\n", "event None\n"]
    assert not done.failed


def test_times_and_memory_are_measured(invoke: Callable[..., Run]) -> None:
    done = invoke("ballast = bytearray(50_000_000)\ndef handler(event, context): return 1", None, None)
    start = done.starts[0].seconds

    assert start is not None
    assert start > 0
    assert all(one.seconds is not None and one.seconds > 0 for one in done.outcomes)
    assert done.peak_bytes > 50_000_000


def test_without_events_only_init_is_run(invoke: Callable[..., Run]) -> None:
    done = invoke("def handler(event, context): return 1")

    assert (len(done.starts), done.outcomes, done.failed) == (1, (), False)


def test_the_path_is_lambdas(invoke: Callable[..., Run]) -> None:
    source = """
        import os, sys
        def handler(event, context):
            return [sys.path, os.environ["LAMBDA_TASK_ROOT"], os.environ["PYTHONPATH"], os.getcwd(), sys.argv]
    """
    path, task, runtime, folder, arguments = answer(invoke(source, None))

    packages = f"python/lib/python3.{sys.version_info.minor}/site-packages"
    assert path[0] == folder == task
    assert path[1].endswith(f"/{packages}")
    assert path[2] == path[1].removesuffix(f"/{packages}") + "/python"
    assert path[3] == runtime
    assert arguments == [f"{runtime}/bootstrap.py"]


def test_nothing_of_this_process_is_visible(
    invoke: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    monkeypatch.setenv("PYTHONPATH", "/hidden")
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    source = """
        import os
        def handler(event, context):
            open_ = [os.path.exists(f"/proc/self/fd/{number}") and os.readlink(f"/proc/self/fd/{number}")
                     for number in range(1024)]
            return [dict(os.environ), [name for name in open_ if name]]
    """
    environment, descriptors = answer(invoke(source, None, variables={"MINE": "1"}))
    os.close(reading)
    os.close(writing)

    assert "hidden" not in str(environment)
    assert environment["MINE"] == "1"
    assert descriptors[0] == "/dev/null"
    assert len(set(descriptors[1:3])) == 1
    assert all(name.startswith("socket:") for name in descriptors[3:])
    assert len(descriptors) <= 4


def test_packages_of_the_interpreter_are_not_visible(invoke: Callable[..., Run]) -> None:
    source = """
        import importlib.util, subprocess, sys
        def handler(event, context):
            code = "import importlib.util as u; print([u.find_spec(n) is None for n in ('pip', 'pytest', 'slimpack')])"
            child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
            return [importlib.util.find_spec(name) is None for name in ("pip", "pytest", "slimpack")], child.stdout
    """
    here, child = answer(invoke(source, None))

    assert here == [True, True, True]
    assert child == "[True, True, True]\n"


def test_limits_are_lambdas(invoke: Callable[..., Run]) -> None:
    source = """
        import resource
        def handler(event, context):
            return [resource.getrlimit(getattr(resource, name)) for name in ("RLIMIT_NOFILE", "RLIMIT_CORE")]
    """
    assert answer(invoke(source, None)) == [[1024, 1024], [0, 0]]


def test_the_files_of_pth_in_the_bundle_are_run(invoke: Callable[..., Run]) -> None:
    files = {"more.pth": "vendor\nimport sys; sys.flagged = True\n", "vendor/inner.py": "x = 5"}
    source = "import inner, sys\ndef handler(event, context): return [inner.x, sys.flagged]"

    assert answer(invoke(source, None, files=files)) == [5, True]


def test_the_runtime_has_its_own_client_whatever_the_bundle_brings(invoke: Callable[..., Run]) -> None:
    files = {"awslambdaric/__init__.py": "", "awslambdaric/__main__.py": "raise SystemExit('the wrong one')"}

    assert answer(invoke("def handler(event, context): return 1", None, files=files)) == 1


def test_a_layer_is_where_lambda_has_layers(tmp_path: Path) -> None:
    for room in (True, False):
        source = "def handler(event, context): return __file__"
        stage = make_stage(tmp_path / str(room), {"python/app.py": source}, room=room)
        done = run(stage, [b"1"])

        in_room = not any(one.what == "room" for one in done.not_emulated)
        assert answer(done) == f"{stage.place(room=in_room)}/python/app.py"


def test_in_a_room_things_are_where_lambda_has_them(in_room: Callable[..., Run]) -> None:
    source = """
        import getpass, os, sys, tempfile
        from pathlib import Path
        def handler(event, context):
            def why_not(path):
                try:
                    Path(path).write_text("x")
                except OSError as problem:
                    return problem.strerror
            return {
                "task": os.getcwd(),
                "python": sys.executable,
                "home": str(Path.home()),
                "user": [getpass.getuser(), os.getuid(), os.getgid(), os.getgroups()],
                "folders": sorted(os.listdir("/")),
                "written": [why_not(f"{place}/x") for place in ("", "/var/task", "/opt", "/var/lang", "/tmp")],
                "tmp": os.statvfs("/tmp").f_blocks * os.statvfs("/tmp").f_frsize,
                "processes": sorted(int(name) for name in os.listdir("/proc") if name.isdigit()),
            }
    """
    told = answer(in_room(source, None))

    assert told["task"] == "/var/task"
    assert told["python"].startswith("/var/lang/bin/python")
    assert told["home"] == "/home/sbx_user1051"
    assert told["user"][:3] == ["sbx_user1051", 993, 990]
    assert {"home", "root", "mnt", "srv"} & set(told["folders"]) == set()
    assert told["written"] == [*["Read-only file system"] * 4, None]
    assert told["tmp"] == 512 * 2**20
    assert told["processes"] == [1, 2]


def test_in_a_room_there_is_no_network_but_loopback(in_room: Callable[..., Run]) -> None:
    with socket.create_server(("0.0.0.0", 0)) as server:  # noqa: S104 -- reachable, were it not for the room
        own = socket.gethostbyname(socket.gethostname())
        source = f"""
            import socket
            def handler(event, context):
                told = [name for _, name in socket.if_nameindex()]
                for host in ("127.0.0.1", {own!r}):
                    try:
                        socket.create_connection((host, {server.getsockname()[1]}), timeout=5)
                    except OSError as problem:
                        told.append(type(problem).__name__)
                return told
        """
        assert answer(in_room(source, None))[:2] == ["lo", "ConnectionRefusedError"]


def test_what_only_the_owner_may_read_cannot_be_read(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can have the function run as another user than the owner")
    source = """
        from pathlib import Path
        secret = Path(__file__).with_name("secret.py")
        def handler(event, context):
            import os
            return [oct(secret.stat().st_mode & 0o777), os.getuid(), os.access(secret, os.R_OK)]
    """
    stage = make_stage(tmp_path, {"app.py": source, "secret.py": "x = 1"})
    (stage.tree / "secret.py").chmod(0o600)

    done = run(stage, [b"1"])

    if any(one.what == "room" for one in done.not_emulated):
        pytest.skip("needs a room")
    assert answer(done) == ["0o600", 993, False]


@pytest.mark.parametrize(
    ("body", "kind", "message"),
    [
        ("raise KeyError('a')", "KeyError", "'a'"),
        ("import os; os._exit(3)", "Runtime.ExitError", "Runtime exited with error: exit status 3"),
        ("import os; os._exit(0)", "Runtime.ExitError", "Runtime exited without providing a reason"),
        ("raise SystemExit(4)", "Runtime.ExitError", "Runtime exited with error: exit status 4"),
        (
            "import os; os.kill(os.getpid(), 11)",
            "Runtime.ExitError",
            "Runtime exited with error: signal: segmentation fault",
        ),
        (
            "import os; os.kill(os.getpid(), 9)",
            "Runtime.ExitError",
            "Runtime exited with error: signal: killed",
        ),
        ("import os; os.abort()", "Runtime.ExitError", "Runtime exited with error: signal: aborted"),
        (
            "return 'x' * 7_000_000",
            "Function.ResponseSizeTooLarge",
            "Response payload size (7000002 bytes) exceeded maximum allowed payload size (6291556 bytes).",
        ),
        ("return object()", "TypeError", "Object of type object is not JSON serializable"),
    ],
)
def test_ways_to_fail_are_told_apart(invoke: Callable[..., Run], body: str, kind: str, message: str) -> None:
    assert fault_of(invoke(f"def handler(event, context): {body}", None)) == (kind, message)


def test_an_exception_comes_with_its_traceback(invoke: Callable[..., Run]) -> None:
    fault = only(invoke("def handler(event, context): return 1 / event", 0)).fault

    assert fault is not None
    assert fault.type == "ZeroDivisionError"
    assert "app.py" in fault.stack[-1]
    assert "handler" in fault.stack[-1]


def test_a_handler_that_never_returns_times_out(invoke: Callable[..., Run]) -> None:
    source = """
        import time
        def handler(event, context):
            print("waiting")
            while True:
                time.sleep(1)
    """
    done = invoke(source, None, timeout_seconds=0.5)

    assert fault_of(done) == ("Sandbox.Timedout", "Task timed out after 0.50 seconds")
    assert only(done).log.text == "waiting\n"


def test_memory_beyond_the_limit_ends_the_run(invoke: Callable[..., Run]) -> None:
    source = """
        import time
        def handler(event, context):
            ballast = bytearray(b"x") * 300_000_000
            time.sleep(event)
            return len(ballast)
    """
    done = invoke(source, 20, memory_mb=128)

    assert fault_of(done)[0] == "Runtime.OutOfMemory"
    assert "of 128" in fault_of(done)[1]
    assert done.peak_bytes > 128 * 2**20


def test_a_short_peak_of_memory_is_noticed_as_well(invoke: Callable[..., Run]) -> None:
    source = "def handler(event, context): return len(bytearray(b'x') * 300_000_000)"

    assert fault_of(invoke(source, None, memory_mb=128))[0] == "Runtime.OutOfMemory"


def test_memory_of_child_processes_counts(invoke: Callable[..., Run]) -> None:
    source = """
        import os, time
        def handler(event, context):
            for _ in range(4):
                if os.fork() == 0:
                    ballast = bytearray(b"x") * 60_000_000
                    time.sleep(20)
            time.sleep(20)
    """
    assert fault_of(invoke(source, None, memory_mb=160))[0] == "Runtime.OutOfMemory"


def test_after_a_death_the_next_event_gets_a_new_process(invoke: Callable[..., Run]) -> None:
    source = """
        import os
        def handler(event, context):
            if event == "die":
                os._exit(1)
            return event
    """
    done = invoke(source, "one", "die", "two")

    assert [one.answer for one in done.outcomes] == ['"one"', None, '"two"']
    assert len(done.starts) == 2
    assert done.failed


def test_a_handler_that_cannot_be_loaded_fails_every_event(invoke: Callable[..., Run]) -> None:
    done = invoke("print('before')\nraise RuntimeError('no luck')", 1, 2)

    assert done.starts[0].seconds is None
    assert done.starts[0].log.text == "before\n"
    assert [one.fault and one.fault.message for one in done.outcomes] == ["no luck", "no luck"]
    assert [one.seconds for one in done.outcomes] == [None, None]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("import os; os._exit(7)", "exit status 7"),
        ("import os; os.kill(os.getpid(), 6)", "signal: aborted"),
    ],
)
def test_a_process_that_dies_while_it_loads_is_told(
    invoke: Callable[..., Run], line: str, message: str
) -> None:
    done = invoke(line)

    fault = done.starts[0].fault
    assert fault is not None
    assert (fault.type, fault.message) == ("Runtime.ExitError", f"Runtime exited with error: {message}")
    assert done.failed


def test_megabytes_of_log_are_cut_and_the_answer_comes(invoke: Callable[..., Run]) -> None:
    source = """
        def handler(event, context):
            for _ in range(20):
                print("x" * 1_000_000)
            return "done"
    """
    outcome = only(invoke(source, None))

    assert outcome.answer == '"done"'
    assert outcome.log.omitted_bytes > 19_000_000
    assert len(outcome.log.text) < 400_000


def test_a_handler_that_closes_every_descriptor_ends(invoke: Callable[..., Run]) -> None:
    source = "import os\ndef handler(event, context): os.closerange(0, 1024)"

    done = invoke(source, None, timeout_seconds=3.0)

    assert only(done).fault is not None or only(done).answer == "null"


def test_children_do_not_outlive_the_run(invoke: Callable[..., Run]) -> None:
    mark = f"slimpack-{os.getpid()}-{time.monotonic_ns()}"
    source = f"""
        import os, signal, subprocess, sys
        def handler(event, context):
            code = "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
            for _ in range(3):
                if os.fork() == 0:
                    os.setsid()
                    os.execv(sys.executable, [sys.executable, "-c", code, {mark!r}])
            return 1
    """
    done = invoke(source, None, None)

    assert [one.answer for one in done.outcomes] == ["1", "1"]
    alive = [path for path in Path("/proc").glob("[0-9]*/cmdline") if mark.encode() in _content(path)]
    assert alive == []


def test_a_handler_that_kills_what_watches_over_it_gains_nothing(invoke: Callable[..., Run]) -> None:
    source = """
        import os, signal, time
        print("process", os.getpid())
        def handler(event, context):
            try:
                os.kill(os.getppid(), signal.SIGKILL)
            except PermissionError:
                os._exit(5)
            time.sleep(60)
    """
    done = invoke(source, None, timeout_seconds=3.0)

    fault = only(done).fault
    assert fault is not None
    assert fault.type in {"Runtime.ExitError", "Sandbox.Timedout"}
    process = int(done.starts[0].log.text.split()[1])
    if process != 2:  # outside a room it is seen from here
        _wait_for_end(process)


def test_where_no_room_can_be_made_it_runs_in_the_open_and_says_why(tmp_path: Path) -> None:
    namespace = ("unshare", "--user", "--map-root-user")
    if shutil.which("unshare") is None or subprocess.run([*namespace, "true"], check=False).returncode:
        pytest.skip("needs a user namespace to forbid mount namespaces in")
    code = """
        import json, sys
        from pathlib import Path
        from runtimes import make_stage
        from slimpack.runtime.invoke import run

        stage = make_stage(Path(sys.argv[1]), {"app.py": "def handler(event, context): return event"})
        done = run(stage, [b"5"])
        print(json.dumps([done.outcomes[0].answer, {one.what: one.reason for one in done.not_emulated}]))
    """
    forbid = 'echo 0 > /proc/sys/user/max_mnt_namespaces && exec "$@"'
    told = subprocess.run(
        [*namespace, "sh", "-c", forbid, "sh", sys.executable, "-c", textwrap.dedent(code), tmp_path],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        stdout=subprocess.PIPE,
        check=True,
    )

    answer_, differs = json.loads(told.stdout)
    assert answer_ == "5"
    assert "unshare" in differs["room"]
    assert {"network", "/var/task", "user"} <= set(differs)


def _wait_for_end(process: int) -> None:
    for _ in range(1000):
        state = _content(Path(f"/proc/{process}/stat")).rpartition(b")")[2].split()
        if not state or state[0] == b"Z":  # nobody reaps orphans in some containers
            return
        time.sleep(0.01)
    pytest.fail("it lives on")


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_an_interrupt_leaves_nothing_behind(tmp_path: Path) -> None:
    stage = make_stage(tmp_path, {"app.py": "import time\ndef handler(event, context): time.sleep(60)"})
    processes: list[int] = []

    def start_and_stop() -> None:
        with Session(stage) as session:
            session.start()
            processes.extend(session._sandbox.processes())
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        start_and_stop()

    assert processes
    assert not any(Path(f"/proc/{pid}").exists() for pid in processes)


def test_several_runs_have_medians(tmp_path: Path) -> None:
    stage = make_stage(tmp_path, {"app.py": "def handler(event, context): return event"})

    runs = [run(stage, [b"1", b"2"]) for _ in range(3)]
    middle = medians(runs)

    assert middle.init_seconds == sorted(one.starts[0].seconds or 0 for one in runs)[1]
    assert len(middle.event_seconds) == 2
    assert middle.peak_bytes == sorted(one.peak_bytes for one in runs)[1]


VANDAL = """
    from contextlib import suppress
    from pathlib import Path

    def handler(event, context):
        here = Path(__file__).parent
        with suppress(OSError):
            here.chmod(0o777)
            (here / "new").touch()
            (here / "data.txt").unlink()
        return str(here)
"""


def test_in_the_open_nothing_happens_to_a_tree_that_is_not_slimpacks_own(tmp_path: Path) -> None:
    stage = make_stage(tmp_path, {"app.py": VANDAL, "data.txt": "same"}, room=False)

    places = [answer(run(stage, [b"0"])) for _ in range(2)]

    assert places == [stage.place(room=False)] * 2
    assert not Path(places[0]).is_relative_to(stage.tree)
    assert {path.name for path in stage.tree.iterdir()} == {"app.py", "data.txt"}
    assert (stage.tree / "data.txt").read_text() == "same"


def test_a_tree_of_slimpacks_own_is_not_copied(tmp_path: Path) -> None:
    source = "def handler(event, context): return __file__"
    stage = replace(make_stage(tmp_path, {"app.py": source}, room=False), owned=True)

    assert answer(run(stage, [b"0"])) == f"{stage.tree}/app.py"


def test_who_may_not_stay_root_is_not_started_where_nobody_else_could_run_it(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    shut = tmp_path / "shut"
    shut.mkdir(mode=0o700)
    stage = make_stage(shut, {"app.py": "def handler(event, context): return 1"}, room=False)

    with pytest.raises(StaysRootError, match=r"not checked: there are no namespaces .* may not pass through"):
        run(replace(stage, may_stay_root=False), [b"0"])
    assert answer(run(stage, [b"0"])) == 1


def test_what_is_not_emulated_is_told(invoke: Callable[..., Run], request: pytest.FixtureRequest) -> None:
    told = {one.what for one in invoke("def handler(event, context): return 1").not_emulated}

    assert {"base system", "credentials", "AWS SDK", "network"} <= told
    assert ("/var/task" in told) is not request.node.callspec.params["invoke"]
