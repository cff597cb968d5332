"""Stage: everything that cold starts of one bundle have in common, and how it is laid out for a sandbox."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from slimpack.errors import RuntimeRoomError
from slimpack.output import writing
from slimpack.runtime import unpack
from slimpack.runtime.environment import LAMBDA, Function, Places, variables
from slimpack.runtime.sandbox import GID, UID, Mount, Order, Room

if TYPE_CHECKING:
    from slimpack.model import Target
    from slimpack.runtime.interpreter import Interpreter

_PASSWD = f"root:x:0:0:root:/root:/bin/sh\nsbx_user1051:x:{UID}:{GID}::/home/sbx_user1051:/sbin/nologin\n"
_GROUP = f"root:x:0:\nsbx_user1051:x:{GID}:\n"
"""Who there is: libraries that ask for the user's name or home get what Lambda says (passwd(5), group(5))."""


_QEMU, _QEMU_LIBRARIES = "/var/qemu/run", "/var/qemu/root"
"""Where an emulator is in a room; Lambda has none."""


_CAPABILITIES = {6: "CAP_SETGID", 7: "CAP_SETUID"}
"""What root needs to become another user (linux/capability.h)."""


class StaysRootError(RuntimeRoomError):
    """A function would run as root in the open, and that was not wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotEmulated:
    """Something in which a run differs from one on Lambda."""

    what: str
    """What differs, in a word or two."""
    reason: str
    """How, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A bundle, ready to be started as often as one likes."""

    target: Target
    """What it was built for."""
    tree: Path
    """Its files. For a layer they are what is at ``/opt``."""
    interpreter: Interpreter
    """What runs it."""
    client: Path
    """Folder with the runtime client and with ``bootstrap.py``."""
    scratch: Path
    """Folder for what the sandboxes need; outlives them."""
    function: Function
    """The function's configuration."""
    owned: bool = True
    """Whether the tree is slimpack's own, unpacked and made read-only; False for one that nothing must happen to."""
    copied: bool = True
    """Whether a tree that is not owned is copied before it runs in the open; False for who watches the tree itself."""
    may_stay_root: bool = True
    """Whether root may run it as root, where there is neither a room nor another user that could."""
    has_sdk: bool = False
    """Whether the client's folder has the AWS SDK."""
    room: bool = True
    """Whether a room of its own is tried; False to do without."""
    bootstrap: tuple[str, ...] = ("bootstrap.py",)
    """What the interpreter runs: a file of the client's folder, and arguments before the layers' folder."""
    audit: str | None = None
    """A file of the client's folder that the dynamic linker loads first (ld.so(8), ``LD_AUDIT``); None for none."""
    notes: int | None = None
    """Descriptor of a file that the process can write to (``Order.notes``)."""

    def order(self, *, room: bool) -> Order:
        """Returns what to start.

        Args:
            room: Whether in a room of its own.

        Raises:
            OutputError: The scratch folder cannot be written.
            StaysRootError: It would run as root, and may not.
        """
        with writing(self.scratch):
            if room:
                return self._in_room()
            why = self._bound()
            if why is not None and not self.may_stay_root:
                raise StaysRootError(
                    "not checked: there are no namespaces on this machine, and root cannot become another user: "
                    f"{why}",
                    fix="Name an interpreter that every user can run with --interpreter, or build as another user.",
                )
            return self._in_the_open(drop_user=os.geteuid() == 0 and why is None)

    def place(self, *, room: bool) -> str:
        """Returns the folder in which the function sees the bundle.

        Args:
            room: Whether in a room of its own.
        """
        if not room:
            return str(self._open_tree())
        return LAMBDA.layer if self.target.kind == "lambda-layer" else LAMBDA.task

    def not_emulated(self, refused: str | None) -> tuple[NotEmulated, ...]:
        """Returns in what a run differs from one on Lambda.

        Args:
            refused: Why there is no room; None if there is one.
        """
        found = {
            "base system": "system libraries are this machine's: one that Lambda lacks is found here "
            f"(`slimpack build` checks against {self.target.system})",
            "processor": "the function has this machine's processors, not the share that goes with its memory"
            if self.interpreter.emulator is None
            else "the processor is emulated, so that times and memory are not Lambda's",
            "credentials": "there is no role; give credentials with --env if the handler needs them",
        }
        if not self.has_sdk:
            found["AWS SDK"] = (
                "boto3 and botocore are not preinstalled; a bundle that brings them is not affected"
            )
        if refused is None:
            found["network"] = "there is no network but loopback, so that nothing outside is touched"
            if not self.owned and os.geteuid() != 0:
                found["file modes"] = (
                    "the function is the owner of the folder: a file of mode 600 can be read"
                )
        else:
            found |= {
                "room": f"no namespaces on this machine ({refused})",
                "network": "the function has this machine's network",
                "/var/task": "the bundle is in another folder",
                "/tmp": "TMPDIR and HOME name a folder of the run's own; /tmp itself is this machine's",  # noqa: S108 -- words
            }
            if self._open_tree() == self.tree and not self.owned:
                found["read-only bundle"] = "the folder can be written to; only bytecode is not"
            why = self._bound()
            if why is not None or os.geteuid() != 0:
                found["user"] = (
                    "the function runs as the user of slimpack, with more than 1,024 processes"
                    f"{'' if why is None else f' ({why})'}"
                )
        return tuple(NotEmulated(what=what, reason=reason) for what, reason in found.items())

    def _in_room(self) -> Order:
        here = self.interpreter
        empty = self._folder("empty", mode=0o555)
        lang = PurePosixPath(LAMBDA.lang)
        (passwd := self.scratch / "passwd").write_text(_PASSWD, encoding="ascii")
        (group := self.scratch / "group").write_text(_GROUP, encoding="ascii")
        is_layer = self.target.kind == "lambda-layer"
        mounts = [
            Mount(source=passwd, place="/etc/passwd"),
            Mount(source=group, place="/etc/group"),
            Mount(source=here.prefix, place=LAMBDA.lang),
            *(
                Mount(source=empty, place=str(lang / packages.relative_to(here.prefix)))
                for packages in here.packages
                if packages.is_relative_to(here.prefix) and packages.is_dir()
            ),
            Mount(source=self.client, place=LAMBDA.runtime),
            Mount(source=empty if is_layer else self.tree, place=LAMBDA.task),
            Mount(source=self.tree if is_layer else empty, place=LAMBDA.layer),
        ]
        emulator: tuple[str, ...] = ()
        if here.emulator is not None:
            libraries = here.emulator.libraries
            mounts.append(Mount(source=here.emulator.program, place=_QEMU))
            if libraries is not None:
                mounts.append(Mount(source=libraries, place=_QEMU_LIBRARIES))
            emulator = here.emulator.command(_QEMU, None if libraries is None else _QEMU_LIBRARIES)
        inside = here.executable
        if inside.is_relative_to(here.prefix):
            inside = Path(lang / inside.relative_to(here.prefix))
        root = self._folder("root")
        return self._order(LAMBDA, (*emulator, str(inside)), room=Room(root=root, mounts=tuple(mounts)))

    def _in_the_open(self, *, drop_user: bool) -> Order:
        tree = self._open_tree()
        if tree != self.tree and not tree.exists():
            unpack.copy(self.tree, tree)
        # a virtual environment without packages hides those of the interpreter (PEP 405)
        lang = self._folder("lang")
        binary = lang / "bin" / self.interpreter.executable.name
        if not binary.exists():
            (lang / "pyvenv.cfg").write_text(
                f"home = {self.interpreter.executable.parent}\ninclude-system-site-packages = false\n",
                encoding="utf-8",
            )
            (lang / "bin").mkdir(exist_ok=True)
            binary.symlink_to(self.interpreter.executable)
        home, empty = self._folder("home", mode=0o777), self._folder("empty", mode=0o555)
        is_layer = self.target.kind == "lambda-layer"
        places = Places(
            task=str(empty if is_layer else tree),
            layer=str(tree if is_layer else empty),
            runtime=str(self.client),
            lang=str(lang),
        )
        emulator: tuple[str, ...] = ()
        if (qemu := self.interpreter.emulator) is not None:
            emulator = qemu.command(qemu.program, qemu.libraries)
        order = self._order(places, (*emulator, str(binary)), room=None)
        more = {"HOME": str(home), "TMPDIR": str(home)}
        if not self.owned:
            more["PYTHONDONTWRITEBYTECODE"] = "1"
        return replace(
            order,
            environment={**order.environment, **more, **self.function.variables},
            drop_user=drop_user,
        )

    def _order(self, places: Places, python: tuple[str, ...], *, room: Room | None) -> Order:
        script, *arguments = self.bootstrap
        return Order(
            command=(
                *python,
                f"{places.runtime}/{script}",
                *arguments,
                places.layer,
            ),
            environment={
                **variables(self.target, self.function, places),
                **({} if self.audit is None else {"LD_AUDIT": f"{places.runtime}/{self.audit}"}),
            },
            folder=places.task,
            room=room,
            notes=self.notes,
        )

    def _folder(self, name: str, *, mode: int = 0o755) -> Path:
        folder = self.scratch / name
        folder.mkdir(exist_ok=True)
        folder.chmod(mode)  # whatever the umask
        return folder

    def _open_tree(self) -> Path:
        """Returns where the bundle is outside a room."""
        if self.owned or not self.copied:
            return self.tree
        mark = hashlib.sha256(os.fsencode(self.tree)).hexdigest()[:8]  # a plain install may run beside it
        return self.scratch / f"copy-{mark}"

    def _bound(self) -> str | None:
        """Returns what keeps root from running it as another user outside a room; None if nothing does."""
        if os.geteuid() != 0:
            return None
        for one in (self._open_tree(), self.interpreter.executable, self.interpreter.prefix):
            for parent in one.resolve().parents:
                if not parent.stat().st_mode & 0o001:
                    return f"others may not pass through {parent}"
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        effective = int(status.partition("CapEff:")[2].split(maxsplit=1)[0], 16)  # proc_pid_status(5)
        for bit, name in _CAPABILITIES.items():
            if not effective >> bit & 1:
                return f"slimpack lacks {name}"
        for file, number in (("uid_map", UID), ("gid_map", GID)):
            rows = Path("/proc/self", file).read_text(encoding="ascii").splitlines()
            spans = [[int(word) for word in row.split()] for row in rows]
            if not any(first <= number < first + count for first, _, count in spans):
                return f"its user namespace has no user {number}"
        return None
