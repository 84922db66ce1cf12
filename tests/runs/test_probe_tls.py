"""Tests of a connection by TLS: against a server with a certificate of an authority that we made."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from llmapp.backends import http
from tests.support.certificates import Authority
from tests.support.provider import Provider

from .test_probe import CANARY, examined, handed, row, said, states

__all__ = ["handed"]

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def trusted(authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Trust the authority as the site of a company with one of its own does."""
    file = tmp_path / "company.pem"
    file.write_text(authority.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    http.ssl_context.cache_clear()
    yield
    http.ssl_context.cache_clear()


@pytest.fixture
def provider(authority: Authority) -> Iterator[Provider]:
    with Provider(tls=authority.server("127.0.0.1")) as made:
        yield made


def test_all_is_well(trusted: None, provider: Provider, handed: list[uuid.UUID]) -> None:
    found = examined(row(provider.url, CANARY))
    assert found.passed is True
    assert states(found)["tls"] == "ok"
    (stage,) = (stage for stage in found.stages if stage["name"] == "tls")
    assert stage["values"] == {"version": "TLSv1.3"}
    assert provider.requests[0].headers["authorization"] == f"Bearer {CANARY}"


def test_a_certificate_that_nobody_trusts(provider: Provider, handed: list[uuid.UUID]) -> None:
    found = examined(row(provider.url, CANARY))
    assert states(found)["tls"] == "failed"
    assert "Nobody whom this site trusts has signed the certificate of 127.0.0.1" in said(found)
    assert provider.requests == []


@pytest.mark.parametrize(
    "name, lifetime, words",
    [
        ("localhost", 1, "not valid for it: look at the host's name"),
        ("127.0.0.2", 1, "not valid for it: look at the host's name"),
        ("127.0.0.1", -1, "has expired"),
    ],
)
def test_a_certificate_that_is_not_valid(
    trusted: None,
    authority: Authority,
    handed: list[uuid.UUID],
    name: str,
    lifetime: int,
    words: str,
) -> None:
    with Provider(tls=authority.server(name, timedelta(days=lifetime))) as provider:
        found = examined(row(provider.url, CANARY))
    assert states(found)["tls"] == "failed"
    assert words in said(found)
    assert provider.requests == []


def test_http_where_https_is_spoken(authority: Authority, handed: list[uuid.UUID]) -> None:
    with Provider(tls=authority.server("127.0.0.1")) as provider:
        found = examined(row(provider.url.replace("https", "http"), CANARY))
    assert found.passed is False
    assert states(found)["sign_in"] == "failed"
