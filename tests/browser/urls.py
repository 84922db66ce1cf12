"""The demo site, and pages of a site that has a chat in them."""

from __future__ import annotations

from django.urls import path
from django.views.generic import TemplateView

from project.urls import urlpatterns as demo

urlpatterns = [
    *demo,
    path("host/<slug:agent>/", TemplateView.as_view(template_name="host.html")),
    path("host/<slug:agent>/inline/", TemplateView.as_view(template_name="host.html", extra_context={"inline": True})),
]
