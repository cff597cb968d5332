"""Launcher: the process that makes the room, starts the function in it, and sees to it that nothing outlives it.

Run by slimpack's own interpreter as a script, with the standard library only and one argument: the descriptor of
a socket (``SOCK_SEQPACKET``). The order comes through it as JSON, with a file for notes attached if there is one. Back
go, as JSON: ``{"listening": port}`` with the listening socket of the Runtime API attached; ``{"started": seconds,
"process": id}``, by the monotonic clock, the id as the function sees it; ``{"ended": status, "peak_kib": n}``, a
wait status; or ``{"refused": why}``. When the other end closes the socket, everything is killed.

With a room, the function has mount, process, network, IPC and host name spaces of its own: a root with nothing
but the system's folders, the bundle, the client and the interpreter, all read-only; a ``/tmp`` of its own; and no
network but loopback. A process that is not root's gets a user namespace as well. See namespaces(7),
user_namespaces(7) and pivot_root(2).
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import resource
import select
import signal
import socket
import struct
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

# sched.h, sys/mount.h, sys/prctl.h, linux/sockios.h, net/if.h
_NEWNS, _NEWUTS, _NEWIPC, _NEWUSER, _NEWPID, _NEWNET = (
    0x20000,
    0x4000000,
    0x8000000,
    0x10000000,
    0x20000000,
    0x40000000,
)
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REMOUNT = 1, 2, 4, 8, 32
_MS_NOATIME, _MS_NODIRATIME, _MS_BIND, _MS_REC, _MS_PRIVATE, _MS_RELATIME = (
    0x400,
    0x800,
    0x1000,
    0x4000,
    0x40000,
    0x200000,
)
_MNT_DETACH = 2
_PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 36, 38
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1

_PORT = 9001
"""Where the Runtime API is on Lambda."""

_KEPT_FLAGS = {
    os.ST_NOSUID: _MS_NOSUID,
    os.ST_NODEV: _MS_NODEV,
    os.ST_NOEXEC: _MS_NOEXEC,
    os.ST_NOATIME: _MS_NOATIME,
    os.ST_NODIRATIME: _MS_NODIRATIME,
    os.ST_RELATIME: _MS_RELATIME,
}
"""Flags of a mount that a remount must repeat: in a user namespace they are locked (mount_namespaces(7))."""

_SYSTEM = (
    "bin", "etc", "gnu", "lib", "lib32", "lib64", "libx32", "nix", "sbin", "sys", "usr",
)  # fmt: skip
"""Folders of the host's root that hold the system and nobody's data."""

_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")

_LARGEST = 2**20
"""Bytes of the order."""

_REAP_MILLISECONDS = 500
"""How often orphans are looked after."""

_LAST_SECONDS = 10.0
"""How long what is left is being killed, outside a room; a fork bomb may outrun that."""

_libc = ctypes.CDLL(None, use_errno=True)


class _RefusedError(Exception):
    """A step of making the room that this machine does not allow."""


def main() -> None:
    """Does what the order says."""
    os.umask(
        0o022
    )  # whatever it was: the function is another user, and has to pass through what is made here
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    data, attached, _, _ = socket.recv_fds(control, _LARGEST, 1)
    order = json.loads(data)
    notes = attached[0] if attached else None
    if notes is not None:
        os.set_inheritable(notes, False)  # Python ignores the flag that would say so at once
    try:
        if order["room"] is None:
            _call("prctl", _PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
            _keep(control, order, _listen(0), notes)
        else:
            _enter(order["room"])
            listener = _listen(_PORT)
            keeper = os.fork()  # the first process of the new process namespace
            if keeper:
                listener.close()
                control.close()
                os.waitpid(keeper, 0)
            else:
                _build(order["room"])
                _keep(control, order, listener, notes)
    except (_RefusedError, OSError) as problem:
        _tell(control, {"refused": str(problem)})
    os._exit(0)


def _enter(room: dict[str, Any]) -> None:
    """Leaves the host's namespaces."""
    uid, gid = os.geteuid(), os.getegid()
    flags = _NEWNS | _NEWUTS | _NEWIPC | _NEWPID | _NEWNET
    may_become = _may_become(room["user"])
    _call("unshare", flags if may_become else flags | _NEWUSER)
    if not may_become:
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"{room['user'][0]} {uid} 1"),
            ("gid_map", f"{room['user'][1]} {gid} 1"),
        ):
            Path("/proc/self", name).write_text(text, encoding="ascii")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sH22x", b"lo", 0)
        flags = struct.unpack_from("H", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request), 16)[0]
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", flags | _IFF_UP))
    socket.sethostname("169.254.0.1")


def _may_become(user: tuple[int, int]) -> bool:
    """Returns whether this process is root and its user namespace has the user (``uid_map``, ``gid_map``)."""
    if os.geteuid() != 0:
        return False
    for file, number in zip(("uid_map", "gid_map"), user, strict=True):
        rows = [line.split() for line in Path("/proc/self", file).read_text(encoding="ascii").splitlines()]
        if not any(int(first) <= number < int(first) + int(count) for first, _, count in rows):
            return False
    return True


def _listen(port: int) -> socket.socket:
    listener = socket.create_server(("127.0.0.1", port), backlog=64)
    listener.set_inheritable(False)
    return listener


def _build(room: dict[str, Any]) -> None:
    """Makes a new root of mounts and goes into it."""
    _call("mount", b"none", b"/", None, _MS_REC | _MS_PRIVATE, None)
    root = Path(room["root"])
    _mount("tmpfs", root, "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=755,size=1m")
    for name in _SYSTEM:
        place = Path("/", name)
        if place.is_symlink():
            (root / name).symlink_to(place.readlink())
        elif place.is_dir():
            _bind(place, root / name)
    for source, name in room["mounts"]:
        _bind(Path(source), root / name.lstrip("/"))
    (root / "dev").mkdir()
    for name in _DEVICES:
        (root / "dev" / name).touch()
        _call("mount", os.fsencode(f"/dev/{name}"), os.fsencode(root / "dev" / name), None, _MS_BIND, None)
    for name, aim in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
        (root / "dev" / name).symlink_to(f"/proc/self/fd{aim}")
    (root / "proc").mkdir()
    _mount("proc", root / "proc", "proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
    (root / "tmp").mkdir()
    _mount("tmpfs", root / "tmp", "tmpfs", _MS_NOSUID | _MS_NODEV, f"mode=1777,size={room['tmp_bytes']}")
    os.chdir(root)
    _call("pivot_root", b".", b".")  # the old root is now mounted over the new one
    _call("umount2", b".", _MNT_DETACH)
    os.chdir("/")
    _call("mount", None, b"/", None, _MS_REMOUNT | _MS_BIND | _MS_RDONLY | _MS_NOSUID | _MS_NODEV, None)


def _bind(source: Path, place: Path) -> None:
    """Mounts a folder or a file at another place, read-only."""
    if source.is_dir():
        place.mkdir(parents=True, exist_ok=True)
    elif not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
    _mount(str(source), place, None, _MS_BIND | _MS_REC)
    found = os.statvfs(place).f_flag
    kept = sum(flag for told, flag in _KEPT_FLAGS.items() if found & told)
    _mount("none", place, None, _MS_REMOUNT | _MS_BIND | _MS_RDONLY | kept)


def _mount(source: str, place: Path, kind: str | None, flags: int, data: str | None = None) -> None:
    _call(
        "mount",
        os.fsencode(source),
        os.fsencode(place),
        None if kind is None else kind.encode(),
        flags,
        None if data is None else data.encode(),
    )


def _keep(
    control: socket.socket, order: dict[str, Any], listener: socket.socket, notes: int | None
) -> NoReturn:
    """Starts the function, waits until it ends or nobody wants it any more, and kills what is left of it."""
    port = listener.getsockname()[1]
    _tell(control, {"listening": port}, listener)
    listener.close()
    function = os.fork()
    if function == 0:
        _become(control, order, port, notes)
    os.closerange(0, control.fileno())  # whoever reads what the function prints must see its end
    os.closerange(control.fileno() + 1, 1024)
    handle = os.pidfd_open(function)
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    poll.register(control, select.POLLIN)
    ended = None
    wanted = True
    while ended is None and wanted:
        wanted = all(descriptor == handle for descriptor, _ in poll.poll(_REAP_MILLISECONDS))
        ended = _reap(function)
    _kill_the_rest(function)
    if ended is not None:
        _tell(control, {"ended": ended[0], "peak_kib": ended[1]})
    os._exit(0)


def _reap(function: int) -> tuple[int, int] | None:
    """Takes leave of processes that have ended; returns wait status and peak memory of the function's, if it has."""
    found = None
    with suppress(ChildProcessError):
        while True:
            pid, status, used = os.wait4(-1, os.WNOHANG)
            if pid == 0:
                break
            if pid == function:
                found = (status, used.ru_maxrss)
    return found


def _kill_the_rest(function: int) -> None:
    """Kills all that descends from this process; the end of the first process of a namespace does it at once."""
    if os.getpid() == 1:
        return
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(function, signal.SIGKILL)
    own = Path(f"/proc/self/task/{os.getpid()}/children")
    until = time.monotonic() + _LAST_SECONDS
    while time.monotonic() < until:  # orphans become our children, and theirs after them
        with suppress(OSError):
            for pid in own.read_text(encoding="ascii").split():
                with suppress(OSError):
                    os.kill(int(pid), signal.SIGKILL)
        try:
            os.wait4(-1, 0)
        except ChildProcessError:
            return


def _become(control: socket.socket, order: dict[str, Any], port: int, notes: int | None) -> NoReturn:
    """Turns this process into the function's."""
    try:
        os.setsid()
        if notes is not None:
            os.dup2(notes, order["notes"])
        for name, limit in order["limits"].items():
            number = getattr(resource, name)
            hard = resource.getrlimit(number)[1]
            lowest = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
            resource.setrlimit(number, (lowest, lowest))
        for number in range(1, signal.NSIG):  # what a parent ignores, its children would ignore as well
            with suppress(OSError, ValueError):
                signal.signal(number, signal.SIG_DFL)
        if order["user"] is not None and _may_become(order["user"]):
            user, group = order["user"]
            os.setgroups([])
            os.setresgid(group, group, group)
            os.setresuid(user, user, user)
        _call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        os.chdir(order["folder"])
        environment = order["environment"] | {"AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{port}"}
        _tell(control, {"started": time.monotonic(), "process": os.getpid()})
        os.execve(order["command"][0], order["command"], environment)  # noqa: S606 -- this is what we are for
    except (_RefusedError, OSError, ValueError) as problem:
        _tell(control, {"refused": f"cannot start {order['command'][0]}: {problem}"})
    os._exit(127)


def _tell(control: socket.socket, message: dict[str, Any], *attached: socket.socket) -> None:
    with suppress(OSError):  # nobody listens any more
        socket.send_fds(control, [json.dumps(message).encode()], [one.fileno() for one in attached])


def _call(name: str, *arguments: object) -> None:
    try:
        failed = getattr(_libc, name)(*arguments) != 0
    except AttributeError:
        raise _RefusedError(f"{name}: this C library does not have it") from None
    if failed:
        raise _RefusedError(f"{name}: {os.strerror(ctypes.get_errno())}")


if __name__ == "__main__":
    main()
