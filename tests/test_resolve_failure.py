from __future__ import annotations

import pytest

from slimpack import target
from slimpack.errors import OutputError, ResolutionError
from slimpack.resolve.candidate import Fit
from slimpack.resolve.failure import NoMatch, explain, no_match, without_wheel

PLAIN = target.make(runtime="python3.12")
FIT = Fit.to(PLAIN)


PIP_CONFLICT = """
ERROR: Cannot install a==1.0 and b==1.0 because these package versions have conflicting dependencies.

The conflict is caused by:
    a 1.0 depends on c<2
    b 1.0 depends on c>=2

Additionally, some packages in these conflicts have no matching distributions available for your environment:
    c

To fix this you could try to:
"""
UV_CONFLICT = """
error: No solution found when resolving dependencies
  cause: Because all versions of b depend on c>=2 and a depends on c<2, we can conclude that a and b are
         incompatible.
         And because you require a and b, we can conclude that your requirements are unsatisfiable.
"""
UV_OLDER_UNKNOWN = """
  \N{MULTIPLICATION SIGN} No solution found when resolving dependencies:
  \u2570\u2500\u25b6 Because nosuch was not found in the package registry and you require nosuch, we can
"""
PIP_OFFLINE = """
  WARNING: Retrying (Retry(total=0)) after connection broken by 'NameResolutionError("HTTPSConnection")': /simple/a/
ERROR: Could not find a version that satisfies the requirement a (from versions: none)
ERROR: No matching distribution found for a
"""
UV_OFFLINE = """
error: Failed to fetch: `https://index.example/simple/a/`
  cause: error sending request for url (https://index.example/simple/a/)
  cause: dns error
"""
UV_REFUSED = """
error: Failed to fetch: `https://index.example/simple/a/`
  cause: HTTP status client error (401 Unauthorized) for url (https://index.example/simple/a/)
"""
PIP_GONE = "ERROR: HTTP error 404 while getting https://files.example/a-1.0-py3-none-any.whl\n"
PIP_CLONE = """
  Cloning https://host.example/a/b.git to /tmp/pip-req-build-0
  Running command git clone --filter=blob:none --quiet https://host.example/a/b.git /tmp/pip-req-build-0
  fatal: unable to access 'https://host.example/a/b.git/': Could not resolve host: host.example
  error: subprocess-exited-with-error
"""
UV_NO_RELEASE = """
error: No solution found when resolving dependencies
  cause: Because there is no version of c==99 and all versions of a depend on c==99, we can conclude that your
         requirements are unsatisfiable.
"""
UV_OTHER_PYTHON = """
error: No solution found when resolving dependencies
  cause: Because a==1.0 requires Python >=3.13 and only a==1.0 is available, we can conclude that your
         requirements are unsatisfiable.
"""
PIP_OTHER_PYTHON = """
ERROR: Ignored the following versions that require a different python version: 2.0 Requires-Python >=3.13
ERROR: No matching distribution found for c==2.0
"""
PIP_UNHASHED = """
ERROR: Hashes are required in --require-hashes mode, but they are missing from some requirements. Here is a list:
    b==1.0 --hash=sha256:00
"""


@pytest.mark.parametrize(
    ("output", "what"),
    [
        (
            PIP_CONFLICT,
            "the requirements contradict each other: a 1.0 depends on c<2 b 1.0 depends on c>=2",
        ),
        (
            UV_CONFLICT,
            (
                "the requirements contradict each other: because all versions of b depend on c>=2 and a depends on "
                "c<2, we can conclude that a and b are incompatible. And because you require a and b"
            ),
        ),
        (UV_OLDER_UNKNOWN, "no index has a package called nosuch"),
        (PIP_OFFLINE, "the package index cannot be reached"),
        (UV_OFFLINE, "https://index.example/simple/a/ cannot be reached"),
        (UV_REFUSED, "the server refuses access to https://index.example/simple/a/ (HTTP 401)"),
        (PIP_GONE, "https://files.example/a-1.0-py3-none-any.whl cannot be had (HTTP 404)"),
        (PIP_UNHASHED, "one requirement has a hash, so all need one: b==1.0 has none"),
        (
            PIP_CLONE,
            (
                "git cannot get https://host.example/a/b.git: unable to access "
                "'https://host.example/a/b.git/': Could not resolve host: host.example"
            ),
        ),
        (
            UV_NO_RELEASE,
            (
                "something requires a release that does not exist: because there is no version of c==99 and "
                "all versions of a depend on c==99"
            ),
        ),
        (
            UV_OTHER_PYTHON,
            (
                "a package does not support the target's Python: because a==1.0 requires Python >=3.13 and "
                "only a==1.0 is available"
            ),
        ),
        ("something new\nerror: it broke\n", "the resolver failed: error: it broke"),
    ],
)
def test_words_of_the_resolvers_become_sentences(output: str, what: str) -> None:
    error = explain(output)

    assert isinstance(error, ResolutionError)
    assert error.what == what
    assert error.fix


def test_a_full_disk_is_an_error_of_the_output() -> None:
    assert isinstance(explain("ERROR: Could not install: [Errno 28] No space left on device\n"), OutputError)


def test_an_explanation_that_nobody_would_read_is_cut() -> None:
    assert len(explain("error: " + "word " * 10_000).what) < 1000


def test_pip_says_what_it_found_no_file_of() -> None:
    assert no_match("ERROR: No matching distribution found for Some_Thing<2,>=1.0\n") == NoMatch.of(
        "some-thing", ["<2,>=1.0"]
    )
    assert no_match("all is well") is None


FILES = (
    "a-2.0-cp312-cp312-manylinux_2_39_x86_64.whl",
    "a-2.0-cp312-cp312-win_amd64.whl",
    "a-1.0-cp312-cp312-manylinux_2_28_x86_64.whl",
    "a-3.0rc1-cp312-cp312-manylinux_2_28_x86_64.whl",
    "a-2.0.tar.gz",
)


def test_the_tags_that_exist_and_the_newest_fitting_release_are_named() -> None:
    error = without_wheel({NoMatch.of("a"): FILES}, PLAIN, FIT, where="requirements.txt:1")

    assert error.what == (
        "no wheel fits python3.12 on x86_64 (glibc 2.34): a 2.0 has wheels for "
        "cp312-cp312-manylinux_2_39_x86_64, cp312-cp312-win_amd64"
    )
    assert error.where == "requirements.txt:1"
    assert error.fix == "Require a==1.0: the newest with a wheel that fits."


def test_all_that_is_missing_is_in_one_error() -> None:
    missing = {
        NoMatch.of("a", ["==2.0"]): FILES,
        NoMatch.of("b"): ("b-1.0.tar.gz",),
        NoMatch.of("c", ["<1"]): ("c-1.0-py3-none-any.whl",),
        NoMatch.of("d"): (),
    }

    what = without_wheel(missing, PLAIN, FIT, where=None).what

    assert what.endswith(
        "; b 1.0 exists only as source; no version of c is <1; there is only 1.0; no index has a package called d"
    )


def test_the_newest_releases_are_named_where_none_is_as_asked() -> None:
    files = [f"c-{version}-py3-none-any.whl" for version in ("1.0", "1.10", "1.9", "1.8", "2.0rc1")]
    wanted = NoMatch.of("c", ["==99"])

    asked = without_wheel({wanted: files}, PLAIN, FIT, where="requirements.txt:1")
    needed = without_wheel({wanted: files}, PLAIN, FIT, where=None)

    assert asked.what == needed.what == "no version of c is ==99; the newest are 1.10, 1.9 and 1.8"
    assert asked.fix == "Require c==1.10: the newest with a wheel that fits."
    assert needed.fix is not None
    assert needed.fix.startswith("Choose another release of what requires it")


def test_a_release_for_another_python_is_told_and_not_recommended() -> None:
    wanted = no_match(PIP_OTHER_PYTHON)
    assert wanted is not None

    error = without_wheel(
        {wanted: ["c-2.0-py3-none-any.whl", "c-1.0-py3-none-any.whl"]}, PLAIN, FIT, where="r.txt:1"
    )

    assert error.what.endswith(": c 2.0 requires Python >=3.13")
    assert error.fix == "Require c==1.0: the newest with a wheel that fits."


def test_an_unknown_name_may_be_misspelt() -> None:
    error = without_wheel({NoMatch.of("d"): ()}, PLAIN, FIT, where=None)

    assert error.what == "no index has a package called d"
    assert error.fix is not None
    assert error.fix.startswith("Check the spelling")


def test_a_release_that_would_fit_is_not_said_to_lack_a_wheel() -> None:
    error = without_wheel({NoMatch.of("a", ["==1.0"]): FILES}, PLAIN, FIT, where=None)

    assert error.what == "a 1.0 would fit, but something else that is required rules it out"
