from __future__ import annotations

import hashlib
import io
import os
import platform
import shutil
import sys
import tarfile
import threading
import zipfile
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from slimpack import resolve, target
from slimpack.errors import RequirementsError, ResolutionError, WheelError
from slimpack.resolve import lock as lock_file
from slimpack.resolve import pip, uv
from slimpack.wheel import Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import MakeWheel

    from slimpack.model import Architecture, Lock, Target
    from slimpack.resolve.resolution import Resolver

OWN: Architecture = "arm64" if platform.machine() == "aarch64" else "x86_64"
FOREIGN: Architecture = "x86_64" if OWN == "arm64" else "arm64"
PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"
CP = PYTHON.replace(".", "")
HERE = target.make(runtime=f"python{PYTHON}", architecture=OWN)
"""A target that this machine and interpreter are like, with a glibc of its own."""
THERE = target.make(runtime="python3.14", architecture=FOREIGN)

needs_uv = pytest.mark.skipif(uv.find() is None, reason="uv is not installed")
both = pytest.mark.parametrize("resolver", ["pip", pytest.param("uv", marks=needs_uv)])

BACKEND = """
import os, zipfile
def build_wheel(folder, config_settings=None, metadata_directory=None):
    open({ran!r}, "a").write("{name}\\n")
    tag = "cp{cp}-cp{cp}-linux_{machine}"
    with zipfile.ZipFile(os.path.join(folder, f"{name}-1.0-{{tag}}.whl"), "w") as wheel:
        wheel.writestr("{name}.py", "")
        wheel.writestr("{name}-1.0.dist-info/METADATA",
            "Metadata-Version: 2.1\\nName: {name}\\nVersion: 1.0\\n" + "{requires}")
        wheel.writestr("{name}-1.0.dist-info/WHEEL", f"Wheel-Version: 1.0\\nRoot-Is-Purelib: false\\nTag: {{tag}}\\n")
        wheel.writestr("{name}-1.0.dist-info/RECORD", "")
    return f"{name}-1.0-{{tag}}.whl"
"""


@pytest.fixture(autouse=True)
def _nothing_but_what_the_test_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    if "network" in request.keywords:
        return
    for name in os.environ:
        if name.startswith(("PIP_", "UV_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", f"{tmp_path} {tmp_path / 'gone'}")
    monkeypatch.setenv("PIP_NO_INDEX", "1")


@pytest.fixture
def ran(tmp_path: Path) -> Path:
    """File in which the sources that were built leave their names."""
    return tmp_path / "ran"


@pytest.fixture
def make_source(tmp_path: Path, ran: Path) -> Callable[..., Path]:
    def make(name: str, requires: str = "") -> Path:
        needed = f"Requires-Dist: {requires}\\n" if requires else ""
        backend = BACKEND.format(name=name, ran=str(ran), cp=CP, machine=HERE.machine, requires=needed)
        path = tmp_path / f"{name}-1.0.tar.gz"
        files = {
            "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
            "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "own"\nbackend-path = ["."]\n',
            "own.py": backend,
        }
        with tarfile.open(path, "w:gz") as archive:
            for place, text in files.items():
                info = tarfile.TarInfo(f"{name}-1.0/{place}")
                info.size = len(text)
                archive.addfile(info, io.BytesIO(text.encode()))
        return path

    return make


def _resolve(folder: Path, text: str, goal: Target = HERE, *, resolver: Resolver = "auto") -> Lock:
    path = folder / "requirements.txt"
    path.write_text(text)
    return resolve.resolve(resolve.read(path, goal, resolver=resolver), folder / "store")


def _files(lock: Lock) -> list[str]:
    return [wheel.filename for wheel in lock.wheels]


@both
def test_requirements_become_a_lock(tmp_path: Path, make_wheel: MakeWheel, resolver: Resolver) -> None:
    make_wheel("app", "1.0", {}, requires=["lib[fast]", "other; python_version < '3'"], extras=["x"])
    make_wheel("app", "2.0", {})
    make_wheel("lib", "1.0", {}, requires=["speed; extra == 'fast'"], extras=["fast"])
    fitting = make_wheel("speed", "1.0", {}, tag=f"cp{CP}-cp{CP}-manylinux_2_17_{HERE.machine}")
    make_wheel("speed", "1.0", {}, tag=f"cp{CP}-cp{CP}-manylinux_2_36_{HERE.machine}")
    make_wheel("speed", "1.1", {}, tag=f"cp{CP}-cp{CP}-manylinux_2_36_{HERE.machine}")
    make_wheel("speed", "1.2", {}, tag=f"cp{CP}-cp{CP}-linux_{HERE.machine}")
    path = tmp_path / "requirements.txt"
    path.write_text("App[x]<2\nspeed ; sys_platform == 'win32'\n")

    found = resolve.prepare(resolve.read(path, HERE, resolver=resolver), tmp_path / "store")

    app, lib, speed = found.lock.wheels
    assert (app.version, app.requested, app.required_at, app.extras) == (
        "1.0",
        True,
        ("requirements.txt:1",),
        ("x",),
    )
    assert (app.requires, lib.requires, speed.requires) == (("lib",), ("speed",), ())
    assert (speed.filename, speed.requested, speed.required_at) == (fitting.name, False, ())
    assert speed.size == fitting.stat().st_size
    assert found.wheels["speed"].read_bytes() == fitting.read_bytes()
    assert found.lock.resolver.startswith(resolver)


def test_an_earlier_lock_is_reused_while_nothing_changes(tmp_path: Path, make_wheel: MakeWheel) -> None:
    make_wheel("a", "1.0", {})
    path = tmp_path / "requirements.txt"
    path.write_text("a\n")
    inputs = resolve.read(path, HERE)
    first = resolve.prepare(inputs, tmp_path / "store")
    earlier = tmp_path / "pylock.app.toml"
    earlier.write_text(lock_file.text(first.lock, HERE, tmp_path))
    make_wheel("a", "2.0", {})

    again = resolve.prepare(inputs, tmp_path / "store", earlier=earlier)
    assert (again.reused, again.lock) == (True, first.lock)

    path.write_text("a>1\n")
    other = resolve.prepare(resolve.read(path, HERE), tmp_path / "store", earlier=earlier)
    assert (other.reused, _files(other.lock)) == (False, ["a-2.0-py3-none-any.whl"])


@both
def test_what_exists_only_as_source_is_built_here(
    tmp_path: Path, make_wheel: MakeWheel, make_source: Callable[..., Path], ran: Path, resolver: Resolver
) -> None:
    make_source("made", "dep")
    make_source("also")
    make_source("dep")  # has a wheel
    make_wheel("dep", "1.0", {}, requires=["also"])

    lock = _resolve(tmp_path, "made\n", resolver=resolver)

    also, dep, made = lock.wheels
    assert dep.filename == "dep-1.0-py3-none-any.whl"
    assert [one.filename for one in (also, made)] == [
        f"{name}-1.0-cp{CP}-cp{CP}-linux_{HERE.machine}.whl" for name in ("also", "made")
    ]
    assert made.path is not None
    assert Path(made.path).parent == tmp_path / "store" / made.sha256
    assert set(ran.read_text().split()) == {"also", "made"}


@needs_uv
def test_sources_are_never_run_for_a_foreign_target_and_all_are_named(
    tmp_path: Path, make_wheel: MakeWheel, make_source: Callable[..., Path], ran: Path
) -> None:
    make_source("made", "dep")
    make_source("also")
    make_wheel("dep", "1.0", {}, requires=["also", f"only; platform_machine == '{THERE.machine}'"])
    make_wheel("only", "1.0", {}, tag="cp39-cp39-win_amd64")

    with pytest.raises(ResolutionError) as caught:
        _resolve(tmp_path, f"made\ndep\n{make_source('local')}\n", THERE)

    error = caught.value
    assert "local would have to be built" in error.what.replace(
        f"file://{tmp_path}/local-1.0.tar.gz", "local"
    )
    assert "also 1.0 exists only as source" in error.what
    assert "made 1.0 exists only as source" in error.what
    assert "only 1.0 has wheels for cp39-cp39-win_amd64" in error.what
    assert not ran.exists()


@needs_uv
def test_markers_and_tags_are_those_of_a_foreign_target(tmp_path: Path, make_wheel: MakeWheel) -> None:
    make_wheel(
        "a", "1.0", {}, requires=[f"b; platform_machine == '{THERE.machine}'", "c; python_version < '3.14'"]
    )
    make_wheel("b", "1.0", {}, tag=f"cp314-cp314-manylinux_2_34_{THERE.machine}")
    make_wheel("b", "1.0", {}, tag=f"cp{CP}-cp{CP}-manylinux_2_17_{HERE.machine}")
    make_wheel("c", "1.0", {})

    lock = _resolve(tmp_path, "a\n", THERE)

    assert _files(lock) == ["a-1.0-py3-none-any.whl", f"b-1.0-cp314-cp314-manylinux_2_34_{THERE.machine}.whl"]


@needs_uv
def test_a_glibc_that_uv_does_not_know_is_kept_to(tmp_path: Path, make_wheel: MakeWheel) -> None:
    goal = target.make(runtime="python3.11", architecture=FOREIGN)
    assert goal.glibc == (2, 26)
    for version, glibc in {"1.0": 17, "1.1": 26, "1.2": 27, "1.3": 28, "2.0": 28}.items():
        make_wheel("a", version, {}, tag=f"cp311-cp311-manylinux_2_{glibc}_{goal.machine}")

    assert _files(_resolve(tmp_path, "a\n", goal)) == [f"a-1.1-cp311-cp311-manylinux_2_26_{goal.machine}.whl"]
    with pytest.raises(ResolutionError, match=r"a 1.3 has wheels for cp311-cp311-manylinux_2_28") as caught:
        _resolve(tmp_path, "a>1.1,<2\n", goal)
    assert caught.value.fix == "Require a==1.1: the newest with a wheel that fits."


def test_pip_is_not_asked_for_what_it_would_get_wrong(tmp_path: Path, make_wheel: MakeWheel) -> None:
    make_wheel("a", "1.0", {})

    with pytest.raises(ResolutionError, match="markers with the interpreter that runs it") as caught:
        _resolve(tmp_path, "a\n", THERE, resolver="pip")

    assert caught.value.fix is not None
    assert ("slimpack[uv]" in caught.value.fix) == (uv.find() is None)
    assert "eave --resolver out" in caught.value.fix


@pytest.mark.parametrize("goal", [HERE, THERE], ids=["here", "there"])
def test_uv_that_is_not_there_is_an_error(
    tmp_path: Path, make_wheel: MakeWheel, monkeypatch: pytest.MonkeyPatch, goal: Target
) -> None:
    make_wheel("a", "1.0", {})
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)

    with pytest.raises(ResolutionError, match="uv is not installed"):
        _resolve(tmp_path, "a\n", goal, resolver="uv")


@pytest.mark.parametrize(
    ("resolver", "text", "what"),
    [
        pytest.param("uv", "nosuch\n", "no index has a package called nosuch", marks=needs_uv),
        pytest.param("uv", "a<1\n", "no version of a is <1; there is only 1.0", marks=needs_uv),
        pytest.param("uv", "a==99\nwin\n", "no version of a is ==99; there is only 1.0", marks=needs_uv),
        pytest.param(
            "uv", "win\n", "no wheel fits .*: win 1.0 has wheels for cp39-cp39-win_amd64", marks=needs_uv
        ),
        pytest.param("uv", f"a==1.0 --hash=sha256:{'0' * 64}\n", "hash", marks=needs_uv),
        ("pip", "a<1\nwin\n", "no version of a is <1; there is only 1.0"),
        ("pip", "win\n", "no wheel fits .*: win 1.0 has wheels for cp39-cp39-win_amd64"),
        ("pip", f"a==1.0 --hash=sha256:{'0' * 64}\n", "hash"),
    ],
)
def test_what_cannot_be_had_is_one_readable_error(
    tmp_path: Path, make_wheel: MakeWheel, resolver: Resolver, text: str, what: str
) -> None:
    make_wheel("a", "1.0", {})
    make_wheel("win", "1.0", {}, tag="cp39-cp39-win_amd64")

    with pytest.raises(ResolutionError, match=what) as caught:
        _resolve(tmp_path, text, resolver=resolver)

    assert caught.value.where == "requirements.txt:1"
    assert caught.value.fix
    assert "\n" not in caught.value.what


@both
def test_conflicting_requirements_are_explained(
    tmp_path: Path, make_wheel: MakeWheel, resolver: Resolver
) -> None:
    make_wheel("a", "1.0", {}, requires=["c<2"])
    make_wheel("b", "1.0", {}, requires=["c>=2"])
    make_wheel("c", "1.0", {})
    make_wheel("c", "2.0", {})

    with pytest.raises(ResolutionError, match=r"contradict each other.*c") as caught:
        _resolve(tmp_path, "a\nb\n", resolver=resolver)

    assert caught.value.where == "requirements.txt:1, requirements.txt:2"


@needs_uv
def test_hashes_choose_the_wheel(tmp_path: Path, make_wheel: MakeWheel) -> None:
    make_wheel("a", "1.0", {}, tag=f"cp{CP}-cp{CP}-manylinux_2_17_{HERE.machine}")
    wanted = make_wheel("a", "1.0", {})
    digest = hashlib.sha256(wanted.read_bytes()).hexdigest()

    assert _files(_resolve(tmp_path, f"a==1.0 --hash=sha256:{digest}\n", resolver="uv")) == [wanted.name]


@both
def test_a_local_wheel_may_be_one_that_was_built_on_such_a_machine(
    tmp_path: Path, make_wheel: MakeWheel, resolver: Resolver
) -> None:
    wheel = make_wheel("own", "1.0", {}, tag=f"cp{CP}-cp{CP}-linux_{HERE.machine}")

    (locked,) = _resolve(tmp_path, f"{wheel}\n", resolver=resolver).wheels

    assert (locked.path, locked.url, locked.requested) == (str(wheel), None, True)


def _cut(wheel: Path) -> None:
    wheel.write_bytes(wheel.read_bytes()[:-50])


def _no_zip(wheel: Path) -> None:
    wheel.write_text("<html>not found</html>")


def _escape(wheel: Path) -> None:
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("../../escaped.py", "")


def _bomb(wheel: Path) -> None:
    with zipfile.ZipFile(wheel, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb", bytes(17 * 2**20))


HURT: dict[Callable[[Path], None], str] = {
    _cut: "truncated",
    _no_zip: "no zip file",
    _escape: "leaves the root",
    _bomb: "beyond the limit",
}


@both
@pytest.mark.parametrize("hurt", HURT)
def test_a_damaged_or_hostile_local_wheel_reaches_no_resolver(
    tmp_path: Path,
    make_wheel: MakeWheel,
    monkeypatch: pytest.MonkeyPatch,
    resolver: Resolver,
    hurt: Callable[[Path], None],
) -> None:
    make_wheel("b", "1.0", {})
    wheel = make_wheel("a", "1.0", {"a.py": "x" * 100})
    hurt(wheel)
    monkeypatch.setattr(uv.Uv, "resolve", lambda *_, **__: pytest.fail("uv was asked"))
    monkeypatch.setattr(pip, "resolve", lambda *_, **__: pytest.fail("pip was asked"))

    with pytest.raises(WheelError, match=HURT[hurt]) as caught:
        _resolve(tmp_path, f"b\n{wheel}\n", resolver=resolver)

    assert caught.value.where is not None
    assert caught.value.where.startswith(f"requirements.txt:2: {wheel.name}")
    assert caught.value.fix


@both
def test_a_damaged_local_wheel_for_elsewhere_is_no_matter(
    tmp_path: Path, make_wheel: MakeWheel, resolver: Resolver
) -> None:
    make_wheel("b", "1.0", {})
    _cut(wheel := make_wheel("a", "1.0", {}))

    lock = _resolve(tmp_path, f"b\n{wheel} ; sys_platform == 'win32'\n", resolver=resolver)

    assert _files(lock) == ["b-1.0-py3-none-any.whl"]


def test_limits_that_the_user_raised_hold_for_local_wheels(tmp_path: Path, make_wheel: MakeWheel) -> None:
    wheel = make_wheel("a", "1.0", {"bomb": bytes(17 * 2**20)})
    path = tmp_path / "requirements.txt"
    path.write_text(f"{wheel}\n")
    inputs = resolve.read(path, HERE)

    with pytest.raises(WheelError, match="beyond the limit"):
        resolve.resolve(inputs, tmp_path / "store")
    assert _files(resolve.resolve(inputs, tmp_path / "store", limits=Limits(ratio=2000))) == [wheel.name]


@both
def test_a_wheel_that_a_resolver_cannot_read_is_named_with_what_is_wrong(
    tmp_path: Path, make_wheel: MakeWheel, resolver: Resolver
) -> None:
    _cut(make_wheel("a", "1.0", {"a.py": "x" * 100}))  # in the find-links folder

    with pytest.raises(WheelError, match="truncated") as caught:
        _resolve(tmp_path, "a\n", resolver=resolver)

    assert caught.value.where == "a-1.0-py3-none-any.whl"


@both
def test_signed_urls_of_an_index_are_used_and_not_kept(
    tmp_path: Path, make_wheel: MakeWheel, monkeypatch: pytest.MonkeyPatch, resolver: Resolver
) -> None:
    wheel = make_wheel("a", "1.0", {"a.py": ""})
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    path = tmp_path / "requirements.txt"
    path.write_text("a\n")
    with _signing(wheel) as url:
        monkeypatch.setenv("PIP_INDEX_URL", url)
        found = resolve.prepare(resolve.read(path, HERE, resolver=resolver), tmp_path / "store")

    assert found.wheels["a"].read_bytes() == wheel.read_bytes()
    assert (found.lock.wheels[0].url or "").endswith(f"/{wheel.name}?X-Amz-Signature=****")
    assert "hidden" not in lock_file.text(found.lock, HERE, tmp_path)


@contextmanager
def _signing(wheel: Path) -> Iterator[str]:
    """Serves an index with one wheel, whose URL is signed; yields the index."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            place, _, query = self.path.partition("?")
            if place == "/simple/a/":
                content = f'<a href="/{wheel.name}?X-Amz-Signature=hidden">{wheel.name}</a>'.encode()
            elif place == f"/{wheel.name}" and query == "X-Amz-Signature=hidden":
                content = wheel.read_bytes()
            else:
                self.send_error(403)
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/html" if place.endswith("/") else "application/zip")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_HEAD(self) -> None:
            self.send_error(405)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/simple"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@both
def test_credentials_reach_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resolver: Resolver
) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://me:hidden-one@127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("TOKEN", "hidden-two")
    text = "--extra-index-url http://${TOKEN}@127.0.0.1:9/more\na\n"

    with pytest.raises(ResolutionError, match="cannot be reached") as caught:
        _resolve(tmp_path, text, resolver=resolver)

    seen = f"{caught.value} {caught.value.where} {caught.value.fix} {caught.value.__cause__}"
    assert "127.0.0.1:9" in seen
    assert "hidden" not in seen


def test_nothing_required_on_the_target_is_an_error(tmp_path: Path, make_wheel: MakeWheel) -> None:
    make_wheel("a", "1.0", {})

    with pytest.raises(ResolutionError, match="nothing is required"):
        _resolve(tmp_path, "a ; sys_platform == 'win32'\n")


def test_a_lock_is_resolved_from_without_any_resolver(
    tmp_path: Path, make_wheel: MakeWheel, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, requires in {"a": ["b"], "b": []}.items():
        make_wheel(name, "1.0", {}, requires=requires)
    path = tmp_path / "requirements.txt"
    path.write_text("a\n")
    store = tmp_path / "store"
    lock = resolve.prepare(resolve.read(path, HERE), store).lock
    text = lock_file.text(lock, HERE, tmp_path)
    text = text.replace('created-by = "slimpack"', 'created-by = "other"')
    (tmp_path / "pylock.told.toml").write_text(text)
    (tmp_path / "pylock.toml").write_text(
        "\n".join(line for line in text.splitlines() if "requested" not in line)
    )
    monkeypatch.setattr(uv.Uv, "resolve", lambda *_, **__: pytest.fail("uv was asked"))

    found = resolve.prepare(resolve.read(tmp_path / "pylock.toml", HERE), store).lock
    told = resolve.prepare(resolve.read(tmp_path / "pylock.told.toml", HERE), store).lock

    assert [(one.name, one.requested) for one in found.wheels] == [("a", True), ("b", True)]
    assert [(one.name, one.requested) for one in told.wheels] == [("a", True), ("b", False)]
    with pytest.raises(RequirementsError):
        resolve.read(tmp_path / "pylock.gone.toml", HERE)


def test_the_digest_is_of_all_that_is_read_but_credentials(
    tmp_path: Path, make_wheel: MakeWheel, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = make_wheel("own", "1.0", {})
    path, limits = tmp_path / "requirements.txt", tmp_path / "limits.txt"
    monkeypatch.chdir(tmp_path)

    def digest(text: str = "a\n", *, url: str = "https://me:one@index.example/", goal: Target = HERE) -> str:
        monkeypatch.setenv("PIP_INDEX_URL", url)
        path.write_text(f"--extra-index-url https://x.example/\n-c limits.txt\n./{wheel.name}\n{text}")
        return resolve.read(path, goal).digest

    limits.write_text("a<2\n")
    first = digest()
    monkeypatch.setenv("PIP_TIMEOUT", "3")
    assert digest(url="https://me:two@index.example/") == first
    assert digest("a>1\n") != first
    assert digest(url="https://other.example/") != first
    assert digest(goal=THERE) != first
    limits.write_text("a<3\n")
    assert digest() != first
    limits.write_text("a<2\n")
    make_wheel("own", "1.0", {"own.py": "changed"})
    assert digest() != first


def test_a_local_project_is_built_and_its_files_are_in_the_digest(
    tmp_path: Path, make_source: Callable[..., Path]
) -> None:
    with tarfile.open(make_source("made")) as archive:
        archive.extractall(tmp_path, filter="data")
    text = f"{tmp_path / 'made-1.0'}\n"

    lock = _resolve(tmp_path, text)

    assert [(one.name, one.required_at) for one in lock.wheels] == [("made", ("requirements.txt:1",))]
    (tmp_path / "made-1.0" / "build").mkdir()
    (tmp_path / "made-1.0" / "build" / "left.py").write_text("")
    assert resolve.read(tmp_path / "requirements.txt", HERE).digest == lock.inputs_digest
    (tmp_path / "made-1.0" / "new.py").write_text("")
    assert resolve.read(tmp_path / "requirements.txt", HERE).digest != lock.inputs_digest


@pytest.mark.network
@needs_uv
@pytest.mark.parametrize("architecture", ["x86_64", "arm64"])
@pytest.mark.parametrize(
    ("runtime", "numpy"), [("python3.11", "2.2."), ("python3.12", "2."), ("python3.13", "2.")]
)
def test_a_real_stack_resolves_for_every_target(
    tmp_path: Path, architecture: Architecture, runtime: str, numpy: str
) -> None:
    goal = target.make(runtime=runtime, architecture=architecture)

    lock = _resolve(tmp_path, "scikit-learn\nclick\n", goal)

    wheels = {wheel.name: wheel for wheel in lock.wheels}
    assert {"click", "joblib", "numpy", "scikit-learn", "scipy", "threadpoolctl"} <= set(wheels)
    assert wheels["numpy"].version.startswith(numpy)
    assert goal.machine in wheels["numpy"].filename


@pytest.mark.network
@needs_uv
def test_pip_and_uv_agree(tmp_path: Path) -> None:
    text = "scikit-learn\nrequests[socks]\n"

    assert _files(_resolve(tmp_path, text, resolver="pip")) == _files(_resolve(tmp_path, text, resolver="uv"))
