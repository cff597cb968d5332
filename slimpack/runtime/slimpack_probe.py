"""Probe: a handler that imports modules and tells which fail. Runs in the target's Python, not in slimpack's."""

import importlib
import sys
import traceback


def handler(event, context):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201, ARG001 -- Lambda's signature
    """Imports the modules that the event names; returns type, message and stack of each that fails, by name.

    What it begins to import, it says: of a process that hangs, nothing else is known.
    """
    failed = {}
    for name in event["modules"]:
        print(f"{event['mark']} {name}", file=sys.__stdout__, flush=True)
        try:
            importlib.import_module(name)
        except BaseException as problem:  # noqa: BLE001 -- a module may raise what it likes
            failed[name] = {
                "type": type(problem).__name__,
                "message": str(problem),
                "stack": traceback.format_exception(problem),
            }
    return failed
