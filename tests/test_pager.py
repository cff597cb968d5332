"""A packed library behaves as the plain one does, whatever the process around it is up to."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

from slimpack.elf.compact import compact
from slimpack.elf.pack import pack
from slimpack.elf.packed import PAGER, read_packed

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import MakeElf

ROOT = Path(__file__).parent.parent
PREBUILT = ROOT / "slimpack" / "pager"
BLOCK = 0x10000
FUNCTIONS = 24

LIBRARY = """
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static const char words[100000] = "words that the kernel reads";
int constructed;
__attribute__((constructor)) static void construct(void) { constructed++; }
const char *first_word(void) { return words; }
void write_to_code(void) { memset((void *)first_word, 0, 1); }
static int seven(void) { return 7; }
static int (*choose(void))(void) { return seven; }
int chosen(void) __attribute__((ifunc("choose")));
static void *blocked(void *number) {
  long (*function)(long) = number;
  sigset_t all, now;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, 0);
  pthread_sigmask(SIG_BLOCK, 0, &now);
  return (void *)(function(1) * 10 + sigismember(&now, SIGTERM));
}
long call_blocked(void *function) {
  pthread_t thread;
  void *result;
  pthread_create(&thread, 0, blocked, function);
  pthread_join(thread, &result);
  return (long)result;
}
int call_chosen(void) { return chosen(); }
""" + "".join(
    f'__asm__(".text\\n.fill {BLOCK},1,0x90\\n"); long f{n}(long x) {{ return x * {n} + {n * n}; }}\n'
    for n in range(FUNCTIONS)
)
FLAGS = ("-shared", "-fPIC", "-O1", "-fno-toplevel-reorder", "-lpthread")

PRELUDE = f"""
import ctypes, os, signal, sys, threading
library = ctypes.CDLL(sys.argv[1])
library.first_word.restype = ctypes.c_char_p
def call(n, x=5):
    function = library["f%d" % n]
    function.restype = ctypes.c_long
    assert function(ctypes.c_long(x)) == x * n + n * n, n
def call_all():
    for n in range({FUNCTIONS}):
        call(n)
"""


class Run(Protocol):
    """Runs Python code with a packed library as ``library``."""

    def __call__(
        self, code: str, *, packed: bool = True, before: str = "", **environment: str
    ) -> subprocess.CompletedProcess[str]: ...


def packed_copy(path: Path, folder: Path) -> Path:
    """Packs a library into a folder, with the pager beside it."""
    folder.mkdir(exist_ok=True)
    image = b"".join(compact(path.read_bytes()).chunks)
    packing = pack(image, pager_folder="$ORIGIN", block_size=BLOCK, level=3)
    (folder / path.name).write_bytes(b"".join(packing.chunks))
    shutil.copy(PREBUILT / "libslimpager-x86_64.so.1", folder / PAGER)
    return folder / path.name


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The library as it is, and packed."""
    folder = tmp_path_factory.mktemp("pager")
    source, plain = folder / "lib.c", folder / "libtorture.so"
    source.write_text(LIBRARY)
    subprocess.run(["gcc", *FLAGS, "-o", plain, source], check=True)
    return plain, packed_copy(plain, folder / "packed")


@pytest.fixture
def run(libraries: tuple[Path, Path]) -> Run:
    def run(
        code: str, *, packed: bool = True, before: str = "", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", before + PRELUDE + code, libraries[packed]],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    return run


def test_every_function_works_and_only_what_is_touched_is_loaded(
    run: Run, libraries: tuple[Path, Path]
) -> None:
    packed = read_packed(libraries[1].read_bytes())
    assert packed is not None

    one = run("call(3)", SLIMPACK_PAGER_STATS="1")
    every = run("call_all()", SLIMPACK_PAGER_STATS="1")
    eager = run("call(3)", SLIMPACK_PAGER_STATS="1", SLIMPACK_PAGER="eager")

    loaded = [int(re.findall(r"loaded (\d+) blocks", ran.stderr)[0]) for ran in (one, every, eager)]
    assert [ran.returncode for ran in (one, every, eager)] == [0, 0, 0]
    assert loaded[0] < loaded[1] <= loaded[2] == len(packed.frames)


def test_without_statistics_nothing_is_said(run: Run) -> None:
    ran = run("call_all()")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


@pytest.mark.parametrize("mode", ["demand", "eager"])
def test_constructors_indirect_functions_and_system_calls_find_their_memory(run: Run, mode: str) -> None:
    code = """
assert ctypes.c_int.in_dll(library, "constructed").value == 1
assert library.call_chosen() == 7
assert ctypes.CDLL(None).write(1, library.first_word, 0) == 0
library.first_word.restype = ctypes.c_void_p
assert ctypes.CDLL(None).write(1, ctypes.c_void_p(library.first_word()), 27) == 27
"""
    ran = run(code, SLIMPACK_PAGER=mode)
    assert (ran.returncode, ran.stdout) == (0, "words that the kernel reads")


def test_eager_leaves_no_handler_behind(run: Run) -> None:
    code = """
class Action(ctypes.Structure):
    _fields_ = [("handler", ctypes.c_void_p), ("rest", ctypes.c_char * 144)]
action = Action()
assert ctypes.CDLL(None).sigaction(signal.SIGSEGV, None, ctypes.byref(action)) == 0
print(bool(action.handler))
"""
    assert run(code, SLIMPACK_PAGER="eager").stdout == "False\n"
    assert run(code).stdout == "True\n"


def test_many_threads_touch_the_same_blocks_first(run: Run) -> None:
    code = """
barrier, failures = threading.Barrier(64), []
def work():
    try:
        barrier.wait()
        call_all()
    except BaseException as error:
        failures.append(error)
threads = [threading.Thread(target=work) for _ in range(64)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert not failures, failures
"""
    for _ in range(3):
        assert run(code).stderr == ""


def test_forks_before_during_and_after_faults(run: Run) -> None:
    code = """
def work():
    call_all()
for number in range(20):
    threads = [threading.Thread(target=work) for _ in range(4)]
    [thread.start() for thread in threads]
    child = os.fork()
    if not child:
        call_all()
        os._exit(0)
    [thread.join() for thread in threads]
    assert os.waitpid(child, 0)[1] == 0
"""
    before = "import warnings; warnings.simplefilter('ignore')\n"
    ran = run(code, before=before)
    assert (ran.returncode, ran.stderr) == (0, "")


CRASHES = {
    "write to code": "library.first_word(); library.write_to_code()",
    "write to cold code": "library.write_to_code()",
    "read nothing": "ctypes.string_at(0)",
    "raise": "ctypes.CDLL(None)['raise'](signal.SIGSEGV)",
    "kill": "os.kill(os.getpid(), signal.SIGSEGV)",
}


@pytest.mark.parametrize("mode", ["demand", "eager"])
@pytest.mark.parametrize("name", CRASHES)
def test_what_crashes_crashes_with_the_original_signal(run: Run, name: str, mode: str) -> None:
    ran = run(CRASHES[name] + "; print('survived')", SLIMPACK_PAGER=mode)
    assert (ran.returncode, ran.stdout, ran.stderr) == (-signal.SIGSEGV, "", "")


@pytest.mark.parametrize("name", CRASHES)
def test_faulthandler_from_before_still_reports_crashes(run: Run, name: str) -> None:
    ran = run(CRASHES[name], before="import faulthandler; faulthandler.enable()\n")
    assert ran.returncode == -signal.SIGSEGV
    assert ran.stderr.startswith("Fatal Python error: Segmentation fault")


def test_faulthandler_from_before_is_not_bothered_with_missing_blocks(run: Run) -> None:
    ran = run("call_all()", before="import faulthandler; faulthandler.enable()\n")
    assert (ran.returncode, ran.stderr) == (0, "")


def test_faulthandler_from_before_takes_nothing_along_when_it_goes(run: Run) -> None:
    before = "import faulthandler; faulthandler.enable()\n"
    ran = run("faulthandler.disable(); call_all(); print('done')", before=before)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "done\n", "")


def test_faulthandler_from_later_leaves_the_pager_when_it_goes(run: Run) -> None:
    ran = run("import faulthandler; faulthandler.enable(); faulthandler.disable(); call_all(); print('done')")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "done\n", "")


def test_faulthandler_from_later_speaks_once_and_the_program_goes_on(run: Run) -> None:
    code = "import faulthandler; faulthandler.enable(); call_all(); print('done')"
    ran, eager = run(code), run(code, SLIMPACK_PAGER="eager")
    assert (ran.returncode, ran.stdout) == (eager.returncode, eager.stdout) == (0, "done\n")
    assert ran.stderr.count("Fatal Python error") == 1
    assert eager.stderr == ""


def test_faulthandler_from_later_does_not_end_threads(run: Run) -> None:
    code = """
import faulthandler
faulthandler.enable()
thread = threading.Thread(target=lambda: (call_all(), print('done')))
thread.start()
thread.join()
"""
    ran = run(code)
    assert (ran.returncode, ran.stdout) == (0, "done\n")
    assert ran.stderr.count("Fatal Python error") == 1


@pytest.mark.parametrize("name", CRASHES)
@pytest.mark.parametrize("then", ["", "faulthandler.disable()"], ids=["enabled", "disabled"])
def test_faulthandler_between_packed_libraries_reports_crashes_once_and_lets_them_be(
    run: Run, libraries: tuple[Path, Path], tmp_path: Path, name: str, then: str
) -> None:
    other = tmp_path / "libother.so"
    shutil.copy(libraries[True], other)
    shutil.copy(libraries[True].parent / PAGER, tmp_path / PAGER)
    ran = run(
        f"import faulthandler; faulthandler.enable(); ctypes.CDLL({str(other)!r}).f3(1)\n{then}\n"
        f"{CRASHES[name]}; print('survived')"
    )
    assert (ran.returncode, ran.stdout) == (-signal.SIGSEGV, "")
    assert ran.stderr.count("Fatal Python error") == (0 if then else 1)


def test_a_thread_with_all_signals_blocked_by_python_loads_what_it_imports(run: Run) -> None:
    before = "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())\n"
    ran = run("call_all(); print('done')", before=before)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "done\n", "")


def test_a_thread_of_the_library_that_blocks_all_signals_goes_on_loading(run: Run) -> None:
    ran = run("assert library.call_blocked(library.f20) == 4201")
    assert (ran.returncode, ran.stderr) == (0, "")


def test_an_ignored_signal_that_was_sent_stays_ignored(run: Run) -> None:
    before = "import signal; signal.signal(signal.SIGSEGV, signal.SIG_IGN)\n"
    ran = run("call(1); os.kill(os.getpid(), signal.SIGSEGV); call_all(); print('done')", before=before)
    assert (ran.returncode, ran.stdout) == (0, "done\n")


HANDLER = """
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
static sigjmp_buf home;
static volatile long address, code, blocked;
static void handle(int number, siginfo_t *info, void *context) {
  sigset_t now;
  address = (long)info->si_addr, code = info->si_code;
  sigprocmask(SIG_BLOCK, 0, &now);
  blocked = sigismember(&now, SIGUSR1) * 10 + sigismember(&now, SIGUSR2);
  siglongjmp(home, 1);
}
void install(void) {
  struct sigaction action = {0};
  action.sa_sigaction = handle, action.sa_flags = SA_SIGINFO;
  sigaddset(&action.sa_mask, SIGUSR1);
  sigaction(SIGSEGV, &action, 0);
}
int probe(long at, long *out) {
  if (!sigsetjmp(home, 1)) { *(volatile char *)at; return 0; }
  out[0] = address, out[1] = code, out[2] = blocked;
  return 1;
}
void small_stack(void) {
  stack_t stack = {.ss_sp = malloc(16384), .ss_size = 16384};
  sigaltstack(&stack, 0);
}
"""


@pytest.mark.parametrize("later", [False, True], ids=["installed before", "installed after"])
def test_another_handler_gets_what_is_its_own(run: Run, make_elf: MakeElf, later: bool) -> None:
    # given a library whose handler leaves by longjmp
    other = make_elf(HANDLER, "-shared", "-fPIC", name="libother.so")
    install = f"import ctypes; other = ctypes.CDLL({str(other)!r}); other.install()\n"

    # when the pager came first, the handler does not know it, and only what has been loaded works
    code = """
out = (ctypes.c_long * 3)()
for at in (0, 0x1230, 0x4560):
    assert other.probe(ctypes.c_long(at), out) == 1
    assert list(out) == [at, 1, 10], list(out)
"""
    ran = (
        run(install + code) if later else run(code + "call_all()\n" + code + "print('done')", before=install)
    )

    # then
    assert (ran.returncode, ran.stderr) == (0, "")
    assert later or ran.stdout == "done\n"


def test_a_small_alternate_stack_is_enough(run: Run, make_elf: MakeElf) -> None:
    other = make_elf(HANDLER, "-shared", "-fPIC", name="libother.so")
    ran = run(f"other = ctypes.CDLL({str(other)!r}); other.small_stack(); call_all()")
    assert (ran.returncode, ran.stderr) == (0, "")


def test_a_library_that_is_closed_and_loaded_again_starts_anew(run: Run) -> None:
    code = """
import _ctypes
for number in range(50):
    call_all()
    assert ctypes.c_int.in_dll(library, "constructed").value == 1
    _ctypes.dlclose(library._handle)
    library = ctypes.CDLL(sys.argv[1])
"""
    ran = run(code)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_memory_that_was_the_library_s_is_others_after_it_is_closed(run: Run) -> None:
    code = f"""
import _ctypes, mmap
address = ctypes.cast(library.f{FUNCTIONS - 1}, ctypes.c_void_p).value & -4096
_ctypes.dlclose(library._handle)
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
at = libc.mmap(ctypes.c_void_p(address), ctypes.c_size_t(4096), 0, 0x100022, -1, ctypes.c_long(0))
assert at == address, at
ctypes.string_at(address, 1)
print("survived")
"""
    ran = run(code)
    assert (ran.returncode, ran.stdout, ran.stderr) == (-signal.SIGSEGV, "", "")


def test_where_written_memory_must_not_become_executable_a_file_in_memory_is_used(run: Run) -> None:
    # given PR_SET_MDWE with PR_MDWE_REFUSE_EXEC_GAIN, Linux 6.3
    before = """
import ctypes
if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0):
    raise SystemExit(77)
"""
    ran = run("call_all(); print('done')", before=before)
    if ran.returncode == 77:
        pytest.skip("this kernel has no PR_SET_MDWE")
    assert (ran.returncode, ran.stdout) == (0, "done\n")


def test_no_proc_is_needed(libraries: tuple[Path, Path], make_elf: MakeElf, tmp_path: Path) -> None:
    # given a root folder with nothing but libraries in it
    if os.geteuid():
        pytest.skip("chroot() is for root")
    program = make_elf(
        "#include <dlfcn.h>\n#include <stdio.h>\n"
        'int main(void) { void *l = dlopen("/libtorture.so", RTLD_NOW); if (!l) { puts(dlerror()); return 1; }'
        'return ((long (*)(long))dlsym(l, "f9"))(1) == 90 ? 0 : 2; }',
        "-ldl",
        name="loader",
    )
    root = tmp_path / "root"
    root.mkdir()
    needed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    for path in re.findall(r"(/\S+) \(0x", needed):
        (root / path[1:]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, root / path[1:])
    for path in (libraries[1], libraries[1].parent / PAGER, program):
        shutil.copy(path, root)

    ran = subprocess.run(["chroot", root, "/loader"], check=False, capture_output=True, text=True)

    assert (ran.returncode, ran.stdout) == (0, "")


def damage(image: bytes, at: Callable[[memoryview], memoryview]) -> bytes:
    """Returns a file with the middle byte of a part changed."""
    changed = bytearray(image)
    part = at(memoryview(changed))
    part[len(part) // 2] ^= 0x55
    return bytes(changed)


@pytest.mark.parametrize("mode", ["demand", "eager"])
def test_a_damaged_block_ends_the_process_with_one_line(
    run: Run, libraries: tuple[Path, Path], tmp_path: Path, mode: str
) -> None:
    packed = read_packed(bytearray(libraries[1].read_bytes()))
    assert packed is not None
    cold = next(one for one in packed.ranges if one.flags & 1)
    number = cold.first_block + cold.blocks // 2

    def block(view: memoryview) -> memoryview:
        found = read_packed(view)
        assert found is not None
        return found.frames[number]

    path = tmp_path / "libdamaged.so"
    path.write_bytes(damage(libraries[1].read_bytes(), block))
    shutil.copy(libraries[1].parent / PAGER, tmp_path)
    ran = run(f"library = ctypes.CDLL({str(path)!r}); call_all(); print('survived')", SLIMPACK_PAGER=mode)

    assert ran.returncode == -signal.SIGABRT
    assert (ran.stdout, ran.stderr) == ("", f"slimpack: {path}: block {number} is damaged\n")


THROWER = """
#include <stdexcept>
#include <string>
extern "C" void thrower(int n);
__asm__(".text\\n.fill 200000,1,0x90\\n");
extern "C" void thrower(int n) { throw std::runtime_error("thrown " + std::to_string(n)); }
"""
CATCHER = """
#include <stdexcept>
#include <string.h>
extern "C" void thrower(int n);
__asm__(".text\\n.fill 200000,1,0x90\\n");
extern "C" int catcher(int n) {
  try { thrower(n); } catch (const std::exception &error) { return !strcmp(error.what(), "thrown 4"); }
  return 0;
}
"""


def test_an_exception_is_thrown_from_one_packed_library_and_caught_in_another(tmp_path: Path) -> None:
    if shutil.which("g++") is None:
        pytest.skip("g++ is not installed")
    for name, source, args in (("thrower", THROWER, ()), ("catcher", CATCHER, ("-L.", "-lthrower"))):
        (tmp_path / f"{name}.cc").write_text(source)
        command = [
            "g++",
            "-shared",
            "-fPIC",
            "-O1",
            "-o",
            f"lib{name}.so",
            f"{name}.cc",
            "-Wl,-rpath,$ORIGIN",
        ]
        subprocess.run([*command, *args], cwd=tmp_path, check=True)
    packed = tmp_path / "packed"
    for name in ("thrower", "catcher"):
        packed_copy(tmp_path / f"lib{name}.so", packed)

    code = "import ctypes, sys; print(ctypes.CDLL(sys.argv[1]).catcher(4))"
    ran = subprocess.run(
        [sys.executable, "-c", code, packed / "libcatcher.so"], capture_output=True, text=True, check=True
    )

    assert ran.stdout == "1\n"


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_prebuilt_pager_asks_for_nothing_newer_than_glibc_2_17(machine: str) -> None:
    pager = PREBUILT / f"libslimpager-{machine}.so.1"
    listed = subprocess.run(
        ["readelf", "-VWd", "--dyn-syms", pager], capture_output=True, text=True, check=True
    ).stdout
    versions = {tuple(map(int, one.split("."))) for one in re.findall(r"GLIBC_([\d.]+)", listed)}
    assert versions
    assert max(versions) <= (2, 17)
    assert set(re.findall(r"NEEDED.*\[(.*)\]", listed)) == {"libc.so.6"}
    # nothing that the handler, or the decoder, could want: only what attaching, or packed code, calls
    assert set(re.findall(r" UND (\w+)@GLIBC", listed)) - {"gnu_get_libc_version"} == {
        "__errno_location",
        "__sysv_signal",
        "dl_iterate_phdr",
        "environ",
        "epoll_pwait",
        "free",  # of a decoder that was allocated, as none is
        "getauxval",
        "ppoll",
        "pselect",
        "sigaction",
        "sigaltstack",
        "sigdelset",
        "sigfillset",
        "signal",
        "sigsuspend",
    }
    assert f"soname: [{PAGER}]" in listed
    defined = re.findall(r"(?:DEFAULT|PROTECTED)\s+\d+ (\S+)$", listed, re.MULTILINE)
    assert sorted(defined) == [
        "slimpack___sysv_signal",
        "slimpack_attach",
        "slimpack_epoll_pwait",
        "slimpack_ppoll",
        "slimpack_pselect",
        "slimpack_pthread_sigmask",
        "slimpack_sigaction",
        "slimpack_signal",
        "slimpack_sigprocmask",
        "slimpack_sigsuspend",
    ]


@pytest.mark.network
def test_the_prebuilt_pager_is_what_the_sources_give(tmp_path: Path) -> None:
    subprocess.run(["make", "--silent", "pager", f"PAGER_OUTPUT={tmp_path}"], cwd=ROOT, check=True)
    for machine in ("x86_64", "aarch64"):
        name = f"libslimpager-{machine}.so.1"
        built, kept = ((folder / name).read_bytes() for folder in (tmp_path, PREBUILT))
        assert hashlib.sha256(built).hexdigest() == hashlib.sha256(kept).hexdigest()
