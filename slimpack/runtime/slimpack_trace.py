"""Trace: notes which modules are imported and what that takes. Runs in the target's Python, not in slimpack's.

It stands in for ``bootstrap.py``, which it runs in the end, and leaves as little behind as it can: no module, no
variable, no frame in a traceback. The import system looks up ``_find_and_load`` of ``importlib._bootstrap`` for
every module that is not loaded yet, whoever asks for it; the function that is put there instead claims to be from
that file, whose frames Python itself removes from tracebacks and skips in warnings.

Notes are lines of descriptor ``NOTES``: ``M``, a running number by begin, nanoseconds without and with what the
module imports in turn, its name and the place it was loaded from, all separated by tabs and the last two as literals.
"""

import os
import sys

_NOTES = 1023

_HOOK = """
def make(find_and_load, modules, clock, thread, note):
    begun = [0]
    stacks = {}

    def _find_and_load(name, import_):
        if name in modules:
            return find_and_load(name, import_)
        stack = stacks.setdefault(thread(), [])
        begun[0] += 1
        number, inner = begun[0], [0]
        stack.append(inner)
        ended = None
        began = clock()
        try:
            module = find_and_load(name, import_)
            ended = clock()
            return module
        finally:
            stack.pop()
            taken = inner[0] if ended is None else ended - began
            if stack:
                stack[-1][0] += taken
            if ended is not None:
                note(number, taken - inner[0], taken, name, modules.get(name))
    return _find_and_load
"""


def main():  # type: ignore[no-untyped-def]  # noqa: ANN201 -- annotations are for slimpack's own Python
    """Installs the hook, then becomes the bootstrap."""
    _install()  # type: ignore[no-untyped-call,unused-ignore]
    os.environ.pop("LD_AUDIT", None)  # not for child processes
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "bootstrap.py")  # noqa: PTH100, PTH118, PTH120 -- pathlib is not loaded yet
    with open(path, "rb") as file:  # noqa: PTH123 -- the same
        code = compile(file.read(), path, "exec")
    sys.argv[0] = path
    own = sys.modules["__main__"].__dict__
    for name in [name for name in own if not name.startswith("__")]:
        del own[name]
    own["__file__"] = path
    exec(code, own)  # noqa: S102 -- slimpack's own file


def _install():  # type: ignore[no-untyped-def]  # noqa: ANN202 -- the same
    import _frozen_importlib
    from _thread import get_ident
    from time import perf_counter_ns

    notes, write, read = _NOTES, os.write, object.__getattribute__

    def note(number, own, whole, name, module):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 -- the same
        try:
            spec = read(module, "__dict__").get("__spec__")  # past any __getattr__ of the module's own
            origin = spec.origin if spec.has_location else None
            line = f"M\t{number}\t{own}\t{whole}\t{str(name)!a}\t{origin and str(origin)!a}\n"
            write(notes, line.encode("ascii"))
        except Exception:  # noqa: BLE001, S110 -- the function must not notice, whatever its modules are made of
            pass

    try:
        os.set_inheritable(notes, False)
    except OSError:
        return
    names = dict(_frozen_importlib.__dict__)
    exec(compile(_HOOK, "<frozen importlib._bootstrap>", "exec"), names)  # noqa: S102 -- the text above
    hook = names["make"](names["_find_and_load"], sys.modules, perf_counter_ns, get_ident, note)
    _frozen_importlib.__dict__["_find_and_load"] = hook  # there is no public place


if __name__ == "__main__":
    main()  # type: ignore[no-untyped-call,unused-ignore]
