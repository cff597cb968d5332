"""Environment: the variables that a function sees on Lambda, and the places its files are at. Pure.

Source: AWS Lambda developer guide, "Using environment variables", and the start-up scripts of the base images.
"""

from __future__ import annotations

import re
from collections.abc import Mapping  # noqa: TC003 -- a field's type
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from slimpack.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from slimpack.model import Target

_SIZE_LIMIT = 4096
"""Bytes that all variables of a function may have together ("Lambda quotas")."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]+", re.ASCII)

_RESERVED = frozenset(
    {
        "AWS_EXECUTION_ENV",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
        "AWS_LAMBDA_FUNCTION_NAME",
        "AWS_LAMBDA_FUNCTION_VERSION",
        "AWS_LAMBDA_INITIALIZATION_TYPE",
        "AWS_LAMBDA_LOG_GROUP_NAME",
        "AWS_LAMBDA_LOG_STREAM_NAME",
        "AWS_LAMBDA_RUNTIME_API",
        "LAMBDA_RUNTIME_DIR",
        "LAMBDA_TASK_ROOT",
        "_HANDLER",
        "_X_AMZN_TRACE_ID",
    }
)
"""Names that Lambda sets and lets nobody set. It reserves region and credentials too; here they may be given,
because no role gives them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """What a function's configuration says."""

    handler: str
    """``module.function``; the module may have dots or slashes."""
    memory_mb: int = 1769
    """Memory in MB of 2**20 bytes. Lambda's own default, 128, is too little for most of what slimpack is for; at
    1,769 a function gets one whole processor ("Configure Lambda function memory"), which durations compare with."""
    timeout_seconds: float = 30.0
    """What an invoke may take; Lambda's own default is 3, its limit 900."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Variables of the function's own."""
    name: str = "function"
    """Its name."""
    region: str = "us-east-1"
    """Where it would run, unless the variables say so."""

    @property
    def arn(self) -> str:
        """Amazon Resource Name, with the account number of AWS's own examples."""
        return f"arn:aws:lambda:{self.region}:123456789012:function:{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where things are for the function."""

    task: str = "/var/task"
    """The bundle."""
    layer: str = "/opt"
    """What layers bring."""
    runtime: str = "/var/runtime"
    """The runtime client."""
    lang: str = "/var/lang"
    """The interpreter's prefix."""


LAMBDA = Places()
"""Where things are on Lambda."""


def variables(target: Target, function: Function, places: Places) -> dict[str, str]:
    """Returns all variables that a function sees, but the address of the Runtime API.

    There are no credentials, and no ``HOME``, which Lambda does not set either. ``PYTHONPATH`` is not there
    until the bootstrap has run, which then sets it for child processes (``bootstrap.py``).

    Args:
        target: Its runtime is in ``AWS_EXECUTION_ENV``.
        function: Its configuration; its own variables win over what Lambda lets be set, such as ``PATH``.
        places: Where things are.
    """
    task, runtime, lang, layer = places.task, places.runtime, places.lang, places.layer
    libraries = (
        f"{lang}/lib",
        "/lib64",
        "/usr/lib64",
        runtime,
        f"{runtime}/lib",
        task,
        f"{task}/lib",
        f"{layer}/lib",
    )
    return {
        "AWS_DEFAULT_REGION": function.region,
        "AWS_EXECUTION_ENV": f"AWS_Lambda_{target.runtime}",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_mb),
        "AWS_LAMBDA_FUNCTION_NAME": function.name,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{function.name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": "2000/01/01/[$LATEST]00000000000000000000000000000000",
        "AWS_REGION": function.region,
        "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
        "LAMBDA_RUNTIME_DIR": runtime,
        "LAMBDA_TASK_ROOT": task,
        "LANG": "en_US.UTF-8",
        "LD_LIBRARY_PATH": ":".join(libraries),
        "PATH": f"{lang}/bin:/usr/local/bin:/usr/bin/:/bin:{layer}/bin",
        "PWD": task,
        "SHLVL": "0",
        "TZ": ":UTC",
        **function.variables,
        "_HANDLER": function.handler,
    }


def parse(assignments: Iterable[str], *, where: str) -> dict[str, str]:
    """Returns the variables of a function from ``NAME=VALUE`` texts.

    Args:
        assignments: What the user wrote.
        where: The option, for messages.

    Raises:
        UsageError: Lambda would refuse them: a bad or reserved name, more than 4 KB, a null character.
    """
    found: dict[str, str] = {}
    for text in assignments:
        name, equals, value = text.partition("=")
        if name in _RESERVED:
            raise UsageError(f"Lambda reserves {name}", where=where, fix="Leave it out.")
        if not equals or not _NAME.fullmatch(name) or "\0" in value:
            raise UsageError(
                f"{name!r} is no variable and its value", where=where, fix="Write it like STAGE=test."
            )
        found[name] = value
    size = sum(
        len(name.encode()) + len(value.encode(errors="surrogateescape")) for name, value in found.items()
    )
    if size > _SIZE_LIMIT:
        raise UsageError(
            f"the variables have {size:,} bytes, a function may have {_SIZE_LIMIT:,}",
            where=where,
            fix="Put large values into a file of the bundle.",
        )
    return found
