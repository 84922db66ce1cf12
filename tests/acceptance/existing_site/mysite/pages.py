"""Appended to the addresses that `startproject` wrote."""
# ruff: noqa: F821

from django.contrib.auth.views import LoginView
from django.http import HttpResponse
from django.views.generic import TemplateView

urlpatterns += [
    path("accounts/login/", LoginView.as_view(), name="login"),
    path("favicon.ico", lambda request: HttpResponse(status=204)),
    path("help/", TemplateView.as_view(template_name="help.html")),
]
