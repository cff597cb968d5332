from __future__ import annotations

import pytest

from slimpack import target as targets
from slimpack.errors import UsageError
from slimpack.target import make, platforms, runtimes, wheel_tags


def test_runtimes_stand_on_their_base_systems() -> None:
    assert runtimes() == ("python3.10", "python3.11", "python3.12", "python3.13", "python3.14")
    assert [make(runtime=name).glibc for name in runtimes()] == [(2, 26), (2, 26), (2, 34), (2, 34), (2, 34)]
    assert targets.default_runtime() == "python3.13"


def test_the_base_system_has_libstdcxx_and_no_libgomp() -> None:
    libraries = make(runtime="python3.13").libraries

    assert {"libc.so.6", "libstdc++.so.6", "libgcc_s.so.1", "ld-linux-x86-64.so.2"} <= libraries
    assert "libgomp.so.1" not in libraries
    assert "ld-linux-aarch64.so.1" in make(runtime="python3.13", architecture="arm64").libraries


def test_the_limit_is_lambdas_own_and_a_layer_has_its_prefix() -> None:
    layer = make(runtime="python3.13", kind="lambda-layer")

    assert (layer.size_limit, layer.upload_limit, layer.prefix) == (262_144_000, 52_428_800, "python/")
    assert make(runtime="python3.13", kind="greengrass").size_limit == 262_144_000
    assert make(runtime="python3.13", size_limit=1000).size_limit == 1000


def test_wheel_tags_reach_up_to_the_ceiling_and_down_to_pure_python() -> None:
    old = {str(tag) for tag in wheel_tags(make(runtime="python3.11"))}
    new = {str(tag) for tag in wheel_tags(make(runtime="python3.12", architecture="arm64"))}

    assert {"cp311-cp311-manylinux_2_26_x86_64", "cp311-abi3-manylinux2014_x86_64", "py3-none-any"} <= old
    assert "cp311-cp311-manylinux_2_27_x86_64" not in old
    assert {"cp312-cp312-manylinux_2_34_aarch64", "cp38-abi3-manylinux2014_aarch64"} <= new
    assert not any("manylinux1_" in tag or "manylinux_2_16" in tag for tag in new)
    assert not any("linux_x86_64" in tag.replace("manylinux", "") for tag in old)


def test_better_platforms_come_first() -> None:
    names = list(platforms(make(runtime="python3.12")))

    assert names[0] == "manylinux_2_34_x86_64"
    assert names[-1] == "manylinux1_x86_64"
    assert names.index("manylinux_2_17_x86_64") + 1 == names.index("manylinux2014_x86_64")


def test_a_custom_target_takes_the_users_word_and_the_profile_below_it() -> None:
    custom = make(runtime="python3.11", kind="custom", glibc="2.30", size_limit=10**9)

    assert (custom.glibc, custom.size_limit, custom.upload_limit) == ((2, 30), 10**9, None)
    assert custom.versions["GLIBCXX"] == "3.4.25"
    assert (
        make(runtime="python3.11", kind="custom", glibc="2.41", size_limit=1).versions["GLIBCXX"] == "3.4.33"
    )


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"runtime": "python3.21"}, r"unknown runtime 'python3.21' \(the nearest is 'python3.14'"),
        ({"runtime": "python3.9"}, r"unknown runtime 'python3.9' \(the nearest is 'python3.10'"),
        ({"runtime": "3.12"}, r"unknown runtime '3.12' \(the nearest is 'python3.12'"),
        ({"runtime": "pyton3.12"}, r"unknown runtime 'pyton3.12' \(did you mean 'python3.12'"),
        ({"runtime": "nodejs20.x"}, "unknown runtime"),
        ({"kind": "custom"}, "needs the glibc and the size limit"),
        ({"kind": "custom", "glibc": "new", "size_limit": 1}, "'new' is no glibc version"),
        ({"kind": "custom", "glibc": "3.1", "size_limit": 1}, "no glibc version"),
        ({"kind": "custom", "glibc": "2.12", "size_limit": 1}, "from 2.17 on"),
        ({"kind": "custom", "glibc": "2.3000000", "size_limit": 1}, "no glibc version"),
        ({"glibc": "2.28"}, "the platform sets the glibc"),
        ({"size_limit": 262_144_001}, "more than the 262,144,000"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence) as caught:
        make(**{"runtime": "python3.12", **settings})  # type: ignore[arg-type]

    assert caught.value.fix
