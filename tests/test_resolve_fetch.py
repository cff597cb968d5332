from __future__ import annotations

import base64
import hashlib
import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, ClassVar

import pytest

from slimpack import target
from slimpack.errors import OutputError, ResolutionError, WheelError
from slimpack.model import Lock, LockedWheel
from slimpack.resolve.fetch import download, fetch
from slimpack.resolve.indexes import Indexes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import MakeWheel

ARM = target.make(runtime="python3.14", architecture="arm64")
"""A target that no machine of ours is like."""
TAG = "cp314-cp314-manylinux_2_34_aarch64"

NOWHERE = Indexes(options={}, private={})


class Handler(SimpleHTTPRequestHandler):
    asked: ClassVar[list[str]] = []
    credentials: ClassVar[str] = base64.b64encode(b"me:hidden").decode()

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.headers.get("Authorization") != f"Basic {self.credentials}":
            self.send_error(401)
            return
        super().do_GET()

    def log_message(self, *_: object) -> None: ...


@contextmanager
def _serving(folder: Path) -> Iterator[str]:
    """Serves a folder to whoever has the credentials; yields the host."""
    Handler.asked.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def _locked(wheel: Path, *, url: str | None = None, sha256: str | None = None) -> Lock:
    name, version = wheel.name.split("-")[:2]
    one = LockedWheel(
        name=name,
        version=version,
        filename=wheel.name,
        sha256=sha256 or hashlib.sha256(wheel.read_bytes()).hexdigest(),
        size=None,
        url=url,
        path=None if url else str(wheel),
        index=None,
        requires=(),
        requested=True,
    )
    return Lock(wheels=(one,), inputs_digest="", resolver="")


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def test_a_local_wheel_is_copied_and_not_touched(tmp_path: Path, make_wheel: MakeWheel) -> None:
    wheel = make_wheel("tiny", "1.0", {"tiny.py": ""})
    lock = _locked(wheel)
    store = tmp_path / "store"

    places = fetch(lock, ARM, store, indexes=NOWHERE)

    assert places == {"tiny": store / lock.wheels[0].sha256 / wheel.name}
    assert places["tiny"].read_bytes() == wheel.read_bytes()
    assert _names(store) == [lock.wheels[0].sha256]


def test_what_is_in_the_store_is_not_fetched_again(tmp_path: Path, make_wheel: MakeWheel) -> None:
    wheel = make_wheel("tiny", "1.0", {"tiny.py": ""})
    lock = _locked(wheel)
    first = fetch(lock, ARM, tmp_path / "store", indexes=NOWHERE)
    wheel.unlink()

    assert fetch(lock, ARM, tmp_path / "store", indexes=NOWHERE) == first


@pytest.mark.parametrize("kept", [True, False])
def test_a_wheel_with_another_hash_is_refused_and_not_stored(
    tmp_path: Path, make_wheel: MakeWheel, *, kept: bool
) -> None:
    wheel = make_wheel("tiny", "1.0", {"tiny.py": ""})
    lock = _locked(wheel, sha256="0" * 64)
    if not kept:
        wheel.unlink()

    with pytest.raises((WheelError, ResolutionError), match=r"sha256|gone"):
        fetch(lock, ARM, tmp_path / "store", indexes=NOWHERE)

    assert _names(tmp_path / "store") == []


def test_two_builds_may_fetch_into_one_store(tmp_path: Path, make_wheel: MakeWheel) -> None:
    lock = _locked(make_wheel("tiny", "1.0", {"tiny.py": "x" * 100_000}))
    store = tmp_path / "store"
    threads = [
        threading.Thread(target=fetch, args=(lock, ARM, store), kwargs={"indexes": NOWHERE}) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert fetch(lock, ARM, store, indexes=NOWHERE)["tiny"].is_file()
    assert _names(store) == [lock.wheels[0].sha256]


def test_a_store_that_cannot_be_written_is_one_error(tmp_path: Path, make_wheel: MakeWheel) -> None:
    (tmp_path / "store").write_text("a file")

    with pytest.raises(OutputError):
        fetch(_locked(make_wheel("tiny", "1.0", {})), ARM, tmp_path / "store", indexes=NOWHERE)


def test_a_foreign_wheel_is_downloaded_with_the_credentials_of_its_host(
    tmp_path: Path, make_wheel: MakeWheel
) -> None:
    wheel = make_wheel("tiny", "1.0", {"tiny.py": ""}, tag=TAG)
    heard: list[str] = []
    with _serving(tmp_path) as host:
        lock = _locked(wheel, url=f"http://{host}/{wheel.name}")
        indexes = Indexes(
            options={"extra-index-url": f"http://me:hidden@{host}/simple", "no-index": "1"}, private={}
        )

        places = fetch(lock, ARM, tmp_path / "store", indexes=indexes, progress=heard.append)

    assert places["tiny"].read_bytes() == wheel.read_bytes()
    assert any(wheel.name in line for line in heard)
    assert not any("hidden" in line for line in heard)
    assert "/simple/tiny/" not in Handler.asked


def test_a_direct_url_gets_its_own_credentials(tmp_path: Path, make_wheel: MakeWheel) -> None:
    wheel = make_wheel("tiny", "1.0", {"tiny.py": ""}, tag=TAG)
    with _serving(tmp_path) as host:
        url = f"http://{host}/{wheel.name}"
        indexes = Indexes(options={}, private={url: url.replace("http://", "http://me:hidden@")})

        assert fetch(_locked(wheel, url=url), ARM, tmp_path / "store", indexes=indexes)["tiny"].is_file()


def test_no_access_a_gone_wheel_and_a_changed_one_are_told_apart(
    tmp_path: Path, make_wheel: MakeWheel
) -> None:
    wheel = make_wheel("tiny", "1.0", {"tiny.py": ""}, tag=TAG)
    with _serving(tmp_path) as host:
        known = Indexes(options={"index-url": f"http://me:hidden@{host}/simple"}, private={})
        here, gone = f"http://{host}/{wheel.name}", f"http://{host}/gone/{wheel.name}"
        for url, sha256, indexes, what in (
            (here, None, NOWHERE, "refuses access"),
            (gone, None, known, "HTTP 404"),
            (here, "0" * 64, known, "is not what its hash says"),
        ):
            with pytest.raises(ResolutionError, match=what) as caught:
                fetch(_locked(wheel, url=url, sha256=sha256), ARM, tmp_path / "store", indexes=indexes)
            assert "hidden" not in f"{caught.value} {caught.value.fix} {caught.value.__cause__}"

    assert _names(tmp_path / "store") == []


def test_a_wheel_without_a_known_hash_is_downloaded_to_learn_it(
    tmp_path: Path, make_wheel: MakeWheel
) -> None:
    wheel = make_wheel("tiny", "1.0", {"tiny.py": ""}, tag=TAG)
    with _serving(tmp_path) as host:
        known = Indexes(options={"index-url": f"http://me:hidden@{host}/simple"}, private={})

        link = f"http://{host}/{wheel.name}"
        found = download({link: ""}, ARM, tmp_path / "store", indexes=known)

    assert (tmp_path / "store" / found[link] / wheel.name).read_bytes() == wheel.read_bytes()


@pytest.mark.parametrize("keeps_size", [True, False])
def test_a_wheel_that_somebody_replaced_in_the_store_is_fetched_anew(
    tmp_path: Path, make_wheel: MakeWheel, *, keeps_size: bool
) -> None:
    wheel = make_wheel("tiny", "1.0", {"tiny.py": ""})
    lock = _locked(wheel)
    place = fetch(lock, ARM, tmp_path / "store", indexes=NOWHERE)["tiny"]
    place.write_bytes(b"x" * (wheel.stat().st_size if keeps_size else 3))

    assert fetch(lock, ARM, tmp_path / "store", indexes=NOWHERE) == {"tiny": place}
    assert place.read_bytes() == wheel.read_bytes()


def test_a_signed_url_that_the_lock_does_not_keep_is_explained(tmp_path: Path, make_wheel: MakeWheel) -> None:
    wheel = make_wheel("tiny", "1.0", {"tiny.py": ""}, tag=TAG)
    with _serving(tmp_path) as host:
        lock = _locked(wheel, url=f"http://{host}/{wheel.name}?X-Amz-Signature=****")

        with pytest.raises(
            ResolutionError, match=r"keeps no secrets.*X-Amz-Signature=\*\*\*\*.*403|401"
        ) as caught:
            fetch(lock, ARM, tmp_path / "store", indexes=NOWHERE)

        assert caught.value.fix is not None
        assert "--upgrade" in caught.value.fix
        known = Indexes(options={"index-url": f"http://me:hidden@{host}/simple"}, private={})
        assert fetch(lock, ARM, tmp_path / "store", indexes=known)["tiny"].is_file()
