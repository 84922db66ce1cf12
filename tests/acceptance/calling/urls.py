"""The addresses of the demo site, and those of the documentation's views."""

from desk import views  # type: ignore[import-not-found]
from django.urls import include, path

urlpatterns = [
    path("ask/", views.ask),
    path("ask-async/", views.ask_async),
    path("sign-up/", views.sign_up),
    path("", include("project.urls")),
]
