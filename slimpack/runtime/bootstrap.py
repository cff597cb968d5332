"""Bootstrap: what Lambda does before its runtime client takes over. Runs in the target's Python, not in slimpack's.

A managed runtime starts ``/var/runtime/bootstrap.py`` with its own interpreter. Two things that it does are easily
overlooked: the client is imported before the task root is on the path, so that a bundle's own ``awslambdaric`` or
``simplejson`` does not replace the runtime's; and the task root is a site folder, so that its ``.pth`` files are run.

The first argument is the folder of the layers.
"""

import os
import site
import sys

from awslambdaric import __main__ as client  # type: ignore[import-not-found,unused-ignore]  # the target's


def main() -> None:
    """Sets up the path as Lambda does, then serves events for ever."""
    layer = sys.argv.pop(1)
    packages = f"{layer}/python/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    task = os.environ["LAMBDA_TASK_ROOT"]
    # a PYTHONPATH of the function's own takes the place of the layers' folders
    layers = [] if "PYTHONPATH" in os.environ else [packages, f"{layer}/python"]
    sys.path[:0] = [task, *layers]
    for folder in (task, *layers):
        site.addsitedir(folder)
    os.environ.setdefault("PYTHONPATH", os.environ["LAMBDA_RUNTIME_DIR"])  # for child processes
    client.main([task, os.environ["_HANDLER"]])


if __name__ == "__main__":
    main()
