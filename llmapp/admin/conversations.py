"""Conversations: that they took place is for whoever may view them, what was said only for who may read it.

A title is made of a person's first words, so it is content too: only the page that notes the reading shows it.
"""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from llmapp.models import Conversation, Message, Run
from llmapp.runs import actions

from . import look, reading
from .base import LookOnly
from .counts import number_of
from .filters import DayFilter, Owned, OwnerFilter
from .statistics import used_by


@admin.register(Conversation)
class ConversationAdmin(Owned, LookOnly[Conversation]):
    list_display = ["short_id", "owner", "agent", "message_count", "run_count", "created_at", "updated_at"]
    list_filter = [DayFilter, OwnerFilter, "agent"]
    list_select_related = ["user", "agent"]
    list_per_page = 50
    search_help_text = gettext_lazy("The id of a conversation or of a visitor, or the name of a user.")
    fields = [
        "id",
        "client_id",
        "whole_owner",
        "agent",
        "message_count",
        "runs_of_it",
        "used",
        "created_at",
        "updated_at",
    ]
    # Stated, because the admin would follow it with a second key for lists that need none.
    ordering = ["-updated_at", "-id"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Conversation]:
        counts = {"messages_in": number_of(Message, "conversation"), "runs_in": number_of(Run, "conversation")}
        return super().get_queryset(request).annotate(**counts)

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Conversation | None:
        found = super().get_object(request, object_id, from_field)
        return None if found is None else untitled(found)

    @admin.display(description=SafeString('<input type="checkbox" id="action-toggle">'))
    def action_checkbox(self, obj: Conversation) -> SafeString:
        # Its label names the row, which for Django is the title.
        return super().action_checkbox(untitled(obj))

    @admin.display(description=gettext_lazy("conversation"), ordering="id")
    def short_id(self, conversation: Conversation) -> str:
        return str(conversation.pk)[:8]

    @admin.display(description=gettext_lazy("messages"), ordering="messages_in")
    def message_count(self, conversation: Any) -> str:
        return look.count(conversation.messages_in)

    @admin.display(description=gettext_lazy("runs"), ordering="runs_in")
    def run_count(self, conversation: Any) -> str:
        return look.count(conversation.runs_in)

    @admin.display(description=gettext_lazy("runs"))
    def runs_of_it(self, conversation: Any) -> str:
        url = reverse("admin:llmapp_run_changelist")
        count = look.count(conversation.runs_in)
        return format_html('<a href="{}?conversation__id__exact={}">{}</a>', url, conversation.pk, count)

    @admin.display(description=gettext_lazy("used"))
    def used(self, conversation: Conversation) -> str:
        return used_by(Run.objects.filter(conversation=conversation))

    # -- reading

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.content_view)
        return [path("<uuid:id>/content/", view, name="llmapp_conversation_content"), *super().get_urls()]

    def more_context(self, request: HttpRequest, object_id: str) -> dict[str, Any]:
        return {"may_read": reading.may_read(request)}

    def content_view(self, request: HttpRequest, id: Any) -> HttpResponse:
        """Show what was said, as text, and write down who read it."""
        conversation = Conversation.objects.select_related("user", "agent").filter(pk=id).first()
        if conversation is None or not self.has_view_permission(request, conversation):
            raise Http404
        reading.note(request, conversation)
        rows = Message.objects.filter(conversation=conversation).select_related("run").order_by("created_at", "id")
        context = {
            **self.admin_site.each_context(request),
            "title": _("Content of a conversation"),
            "opts": self.opts,
            "conversation": conversation,
            "owner": self.whole_owner(conversation),
            "messages_of_it": rows,
            "media": self.media,
        }
        return TemplateResponse(request, "admin/llmapp/conversation/content.html", context)

    # -- deleting

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.may(request, "delete_conversation")

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Name conversations by id, and count the rest: what hangs on them goes with them."""
        rows = list(objs)
        ids = [row.pk for row in rows]
        counts = {
            str(Conversation._meta.verbose_name_plural): len(rows),
            str(Message._meta.verbose_name_plural): Message.objects.filter(conversation__in=ids).count(),
            str(Run._meta.verbose_name_plural): Run.objects.filter(conversation__in=ids).count(),
        }
        return [str(id) for id in ids], counts, set(), []

    def delete_model(self, request: HttpRequest, obj: Conversation) -> None:
        actions.delete(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Conversation]) -> None:
        for conversation in queryset:
            actions.delete(conversation)

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        return super().log_deletions(request, [untitled(row) for row in queryset])  # type: ignore[arg-type]


def untitled(conversation: Conversation) -> Conversation:
    """Return it without its title, so that no page, message or history names it by somebody's words."""
    conversation.title = ""
    return conversation
