"""What a provider quotes of a key is blacked out, however it writes it; what only looks like it stays."""

from __future__ import annotations

import base64
import time
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmapp.backends.base import Secret
from llmapp.backends.redact import BLACKED_OUT, PIECE, redacted, redacted_headers
from llmapp.core.errors import BackendError, ErrorFacts

KEY = "sk-canary-Zq7/Xv+93kLmWp52Rt=="
SECRET = Secret(id=1, api_key=KEY, extra={"account": "acc-77-longer"})

TEXTS = [
    (f"Bearer {KEY} is wrong", "Bearer [key] is wrong"),
    (f"{KEY}{KEY}", "[key][key]"),
    (KEY.upper(), "[key]"),
    (f"?key={quote(KEY, safe='')}&x=1", "?key=[key]&x=1"),
    (f"?key={quote(KEY)}", "?key=[key]"),
    (f"0x{KEY.encode().hex()}", "0x[key]"),
    (f"account acc-77-longer, {KEY[:12]} and {KEY[-9:]}", "account [key], [key] and [key]"),
    # an umlaut before it, and letters that are longer in lower case
    (f"İİ ü {KEY} 🙂", "İİ ü [key] 🙂"),
    # what is shown on purpose, or is no part of it
    ("sk-cana...Rt== is wrong", "sk-cana...Rt== is wrong"),
    ("rate limit reached", "rate limit reached"),
    ("", ""),
]


@pytest.mark.parametrize("text, expected", TEXTS)
def test_a_text(text: str, expected: str) -> None:
    assert redacted_headers({"x": text}, SECRET) == {"x": expected}


@pytest.mark.parametrize("before", ["", "Bearer ", "user:", "ab", "abc"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_base64_of_it(before: str, encode: object) -> None:
    """Whatever it stands behind."""
    coded = encode(f"{before}{KEY} and more".encode()).decode()  # type: ignore[operator]
    cleaned = redacted_headers({"x": coded}, SECRET)["x"]
    assert BLACKED_OUT in cleaned
    # Its first and its last character share a letter with what stands beside them.
    middle = base64.b64encode(KEY[3:-3].encode()).decode()
    assert all(len(left) < 24 for left in cleaned.split(BLACKED_OUT))
    assert middle not in cleaned


def test_every_place_of_an_error() -> None:
    body = {"error": {"message": f"no {KEY}", KEY: [KEY, 1, None, {"deep": KEY}]}}
    facts = ErrorFacts(provider="p", status=401, headers={"x": KEY}, body=body, exception=f"E: {KEY}")
    assert KEY not in repr(redacted(BackendError(facts), SECRET).facts)


@given(st.integers(0, 29), st.integers(0, 29), st.text(max_size=20), st.text(max_size=20))
def test_any_piece(start: int, end: int, before: str, after: str) -> None:
    """From so many characters on, wherever it stands; and the rest of the text stays."""
    piece = KEY[start:end]
    cleaned = redacted_headers({"x": f"{before}|{piece}|{after}"}, Secret(id=1, api_key=KEY))["x"]
    if len(piece) >= PIECE:
        assert piece not in cleaned
    else:
        assert cleaned == f"{before}|{piece}|{after}"


@pytest.mark.parametrize("key", ["", "short"])
def test_what_is_no_secret(key: str) -> None:
    """Nobody is protected by blacking out a word that is shorter than any key."""
    assert redacted_headers({"x": "a short text"}, Secret(id=None, api_key=key)) == {"x": "a short text"}


def test_it_takes_no_time() -> None:
    """Each answer's head goes through it."""
    headers = {f"x-header-{n}": "some value of it; and more" for n in range(30)}
    start = time.perf_counter()
    for _ in range(20):
        redacted_headers(headers, SECRET)
    assert (time.perf_counter() - start) / 20 < 0.005
