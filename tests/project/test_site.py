"""The demo site's own pages."""

from __future__ import annotations

import pytest
from django.test import Client

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    "path, status",
    [("/accounts/login/", 200), ("/admin/login/", 200), ("/static/admin/css/base.css", 200), ("/nowhere/", 404)],
)
def test_each_answer_has_its_security_headers(path: str, status: int) -> None:
    answer = Client().get(path)
    assert answer.status_code == status
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'self'" in answer["Content-Security-Policy"]
    assert "unsafe" not in answer["Content-Security-Policy"]
    answer.close()


def test_a_page_says_which_language_it_is_in() -> None:
    assert Client().get("/accounts/login/", headers={"Accept-Language": "zh-CN"})["Content-Language"] == "zh-hans"
    assert Client().get("/accounts/login/")["Content-Language"] == "en"


def test_the_root_leads_to_the_chat() -> None:
    answer = Client().get("/")
    assert (answer.status_code, answer["Location"]) == (302, "/chat/")


def test_a_foreign_host_name_is_refused() -> None:
    assert Client().get("/accounts/login/", headers={"Host": "evil.example"}).status_code == 400
