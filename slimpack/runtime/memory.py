"""Memory: what a tree of processes has resident, watched from outside.

Lambda limits the memory of a whole virtual machine. Here the processes are looked at again and again, which needs no
rights and no control groups, and can come a moment late: the peak that the kernel keeps shows that afterwards.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_PEAK = re.compile(r"^VmHWM:\s*(\d+) kB$", re.MULTILINE)
_RESIDENT = re.compile(r"^VmRSS:\s*(\d+) kB$", re.MULTILINE)
_SHARE = re.compile(r"^Pss:\s*(\d+) kB$", re.MULTILINE)


def used(processes: Sequence[int]) -> int:
    """Returns the bytes of memory that processes have.

    Of one process that is the most it ever had, which the kernel knows (proc(5), ``VmHWM``). Of several it is what
    they have now, each page counted once however many share it (``Pss``).

    Args:
        processes: Process ids; those that have ended count nothing.
    """
    if len(processes) == 1:
        return _field(processes[0], "status", _PEAK)
    return sum(_field(pid, "smaps_rollup", _SHARE) or _field(pid, "status", _RESIDENT) for pid in processes)


def _field(pid: int, file: str, pattern: re.Pattern[str]) -> int:
    try:
        found = pattern.search(Path(f"/proc/{pid}/{file}").read_text(encoding="ascii", errors="replace"))
    except OSError:  # ended, or not ours to look at
        return 0
    return int(found[1]) * 1024 if found else 0
