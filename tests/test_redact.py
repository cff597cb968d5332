from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slimpack import redact

_WORD = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~!$'()*+,;=%", min_size=4)
_SECRET = _WORD.map(lambda word: f"S3{word}")
_HOST = st.from_regex(r"[a-z]{1,8}(\.[a-z]{2,5}){1,2}(:[0-9]{2,4})?", fullmatch=True)
_PATH = st.from_regex(r"(/[a-z0-9@+-]{1,8}){0,3}", fullmatch=True)
_KEY = st.sampled_from(
    ["token", "access_token", "X-Amz-Signature", "api_key", "sig", "Password", "client-secret"]
)


@given(
    scheme=st.sampled_from(["http", "https", "git+https", "git+ssh"]),
    user=_WORD,
    password=_SECRET,
    host=_HOST,
)
def test_a_password_in_a_url_never_gets_through(scheme: str, user: str, password: str, host: str) -> None:
    url = f"{scheme}://{user}:{password}@{host}/simple/"

    for shown in (redact.public_url(url), redact.text(f"ERROR: cannot fetch <{url}> (from r.txt)")):
        assert password not in shown
        assert host in shown


@given(key=_KEY, secret=_SECRET, host=_HOST, path=_PATH)
def test_a_secret_query_value_never_gets_through(key: str, secret: str, host: str, path: str) -> None:
    secret = secret.replace(";", "_").replace("'", "_")
    url = f"https://{host}{path}/x.whl?v=1&{key}={secret}"

    assert redact.public_url(url) == f"https://{host}{path}/x.whl?v=1"
    assert secret not in redact.text(f"could not get {url}: gone")


@given(key=_KEY, secret=_SECRET, host=_HOST, path=_PATH)
def test_a_masked_url_shows_what_it_lacks_and_stays_as_it_is(
    key: str, secret: str, host: str, path: str
) -> None:
    masked = redact.masked_url(f"https://u:{secret}@{host}{path}/x.whl?v=1&{key}={quote(secret)}#x")

    assert masked == f"https://{host}{path}/x.whl?v=1&{key}=****"
    assert redact.masked_url(masked) == masked
    assert redact.public_url(masked) == f"https://{host}{path}/x.whl?v=1"


@given(secret=_SECRET, before=st.text(), after=st.text())
def test_known_secrets_are_masked_wherever_they_stand(secret: str, before: str, after: str) -> None:
    url = f"https://user:{secret}@index.example/simple"

    assert secret not in redact.text(f"{before}{secret}{after}", redact.secrets_of(url))


@given(host=_HOST, path=_PATH)
def test_a_url_without_credentials_stays_as_it_is(host: str, path: str) -> None:
    url = f"https://{host}{path}"

    assert redact.public_url(url) == url
    assert redact.text(f"Looking in {url} now") == f"Looking in {url} now"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://token@index.example/simple", "https://****@index.example/simple"),
        ("https://u:p@ss@index.example/", "https://****@index.example/"),
        ("https://u:pa/ss@index.example/", "https://****@index.example/"),
        ("git+https://host.example/a/b@v1.0", "git+https://host.example/a/b@v1.0"),
        ("https://host.example:8080/a@b", "https://host.example:8080/a@b"),
        ("mail@host.example", "mail@host.example"),
    ],
)
def test_what_is_masked_and_what_is_not(text: str, shown: str) -> None:
    assert redact.text(text) == shown


def test_a_path_is_its_own_public_form() -> None:
    assert redact.public_url("/wheels/a@b") == "/wheels/a@b"
