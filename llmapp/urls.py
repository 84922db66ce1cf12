"""The addresses of the app. A site includes them where it likes: `path("", include("llmapp.urls"))`.

The ids of runs and conversations may be a client's own, with slashes in them. A slash at the end of an
API's address may be there or not.
"""

from __future__ import annotations

from django.urls import path, re_path

from .api import conversations, runs, status
from .views import chat, demo, embedded, health, metrics

app_name = "llmapp"

urlpatterns = [
    path("chat/", chat.chat, name="chat"),
    path("chat/<uuid:conversation>/", chat.chat, name="conversation"),
    path("chat/embed/<slug:agent>/", embedded.embedded, name="embedded"),
    path("chat/embed/<slug:agent>/<uuid:conversation>/", embedded.embedded, name="embedded-conversation"),
    path("demo/<str:token>/", demo.sign_in, name="demo-sign-in"),
    path("api/conversations/", conversations.conversations, name="api-conversations"),
    re_path(r"^api/conversations$", conversations.conversations),
    re_path(r"^api/conversations/(?P<conversation>.+?)/messages/?$", conversations.messages, name="api-messages"),
    re_path(r"^api/conversations/(?P<conversation>.+?)/?$", conversations.conversation, name="api-conversation"),
    re_path(r"^api/agents/(?P<agent>[^/]+)/runs/?$", runs.runs, name="api-runs"),
    re_path(r"^api/runs/(?P<run>.+?)/events/?$", runs.events, name="api-events"),
    re_path(r"^api/runs/(?P<run>.+?)/stop/?$", runs.stop, name="api-stop"),
    re_path(r"^api/runs/(?P<run>.+?)/retry/?$", runs.retry, name="api-retry"),
    re_path(r"^api/runs/(?P<run>.+?)/?$", runs.run, name="api-run"),
    re_path(r"^api/status/?$", status.status, name="api-status"),
    re_path(r"^health/live/?$", health.live, name="health-live"),
    re_path(r"^health/ready/?$", health.ready, name="health-ready"),
    re_path(r"^metrics/?$", metrics.metrics, name="metrics"),
]
