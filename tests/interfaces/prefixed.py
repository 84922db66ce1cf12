"""A site that has the app behind a prefix, and no page of its own but the sign-in."""

from __future__ import annotations

from django.contrib.auth.views import LoginView
from django.urls import include, path

urlpatterns = [
    path("de/assistant/", include("llmapp.urls")),
    path("de/login/", LoginView.as_view(), name="login"),
]
