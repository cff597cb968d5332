from __future__ import annotations

import pytest

from slimpack import target
from slimpack.errors import UsageError
from slimpack.runtime.environment import LAMBDA, Function, Places, parse, variables

TARGET = target.make(runtime="python3.12")


def test_the_variables_are_those_of_lambda() -> None:
    found = variables(
        TARGET, Function(handler="app.handler", memory_mb=512, variables={"STAGE": "x"}), LAMBDA
    )

    assert found["AWS_EXECUTION_ENV"] == "AWS_Lambda_python3.12"
    assert found["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "512"
    assert found["_HANDLER"] == "app.handler"
    assert found["LAMBDA_TASK_ROOT"] == "/var/task"
    assert (
        found["LD_LIBRARY_PATH"]
        == "/var/lang/lib:/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib"
    )
    assert (found["LANG"], found["TZ"], found["STAGE"]) == ("en_US.UTF-8", ":UTC", "x")


def test_there_are_no_credentials_and_no_home_and_no_python_settings() -> None:
    found = variables(TARGET, Function(handler="app.handler"), LAMBDA)

    assert not {name for name in found if "KEY" in name or "TOKEN" in name or name.startswith("PYTHON")}
    assert "HOME" not in found


def test_elsewhere_the_same_variables_name_other_places() -> None:
    found = variables(
        TARGET, Function(handler="a.b"), Places(task="/x/task", runtime="/x/run", lang="/x/lang")
    )

    assert found["LAMBDA_TASK_ROOT"] == found["PWD"] == "/x/task"
    assert found["LD_LIBRARY_PATH"].startswith("/x/lang/lib:/lib64:/usr/lib64:/x/run:")


def test_a_function_may_set_its_path_and_not_its_handler() -> None:
    function = Function(handler="a.b", variables={"PATH": "/mine", "_HANDLER": "other.one"})

    found = variables(TARGET, function, LAMBDA)

    assert (found["PATH"], found["_HANDLER"]) == ("/mine", "a.b")


def test_assignments_are_split_at_the_first_sign() -> None:
    assert parse(["A1=x=y", "B_=", "A1=z"], where="--env") == {"A1": "z", "B_": ""}


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("STAGE", "no variable"),
        ("=x", "no variable"),
        ("1A=x", "no variable"),
        ("Ä1=x", "no variable"),
        ("A1=\0", "no variable"),
        ("LAMBDA_TASK_ROOT=/x", "reserves"),
        ("BIG=" + "x" * 4094, "4,097 bytes"),
    ],
)
def test_what_lambda_would_refuse_is_refused(assignment: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse([assignment], where="--env")


def test_variables_up_to_the_limit_are_taken() -> None:
    assert len(parse(["BIG=" + "x" * 4093], where="--env")["BIG"]) == 4093
