"""Conversations: trees of messages that belong to a user, or to a visitor without an account."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from llmapp.core.messages import Role

from .visitors import ONE_OWNER, Visitor


class Conversation(models.Model):
    """A tree of messages. `leaf` is the end of the path that is shown."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.CASCADE,
        null=True,
        blank=True,
        related_name="llmapp_conversations",
        verbose_name=_("user"),
    )
    visitor = models.ForeignKey(
        Visitor, models.CASCADE, null=True, blank=True, db_index=False, related_name="conversations", editable=False
    )
    #: What a client calls it, when that is not our id.
    client_id = models.CharField(max_length=200, null=True, blank=True, editable=False)  # noqa: DJ001
    title = models.CharField(_("title"), max_length=200, blank=True)
    agent = models.ForeignKey(
        "llmapp.AgentSettings", models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("agent")
    )
    leaf = models.ForeignKey("llmapp.Message", models.SET_NULL, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    updated_at = models.DateTimeField(_("updated at"), auto_now_add=True)

    class Meta:
        verbose_name = _("conversation")
        verbose_name_plural = _("conversations")
        ordering = ["-updated_at", "-id"]
        permissions = [("view_conversation_content", _("Can read what people wrote"))]
        indexes = [
            models.Index(fields=["user", "-updated_at", "-id"], name="llmapp_conversation_newest"),
            # For the administration, which lists everybody's.
            models.Index(fields=["-updated_at", "-id"], name="llmapp_conversation_all"),
            # For the sweeper, which deletes the old ones.
            models.Index(fields=["updated_at"], name="llmapp_conversation_visited", condition=Q(visitor__isnull=False)),
        ]
        constraints = [
            # NULL is not equal to NULL: only names that clients gave are unique.
            models.UniqueConstraint(fields=["user", "client_id"], name="llmapp_conversation_client_id"),
            models.UniqueConstraint(fields=["visitor", "client_id"], name="llmapp_conversation_visitor_client_id"),
            models.CheckConstraint(condition=ONE_OWNER, name="llmapp_conversation_one_owner"),
        ]

    def __str__(self) -> str:
        return self.title or str(self.id)

    @property
    def thread_id(self) -> str:
        """What AG-UI calls it: the client's own name, where it gave one."""
        return self.client_id or str(self.id)


class Message(models.Model):
    """One node of the tree. `text` is the truth; `html` is rendered from it, once."""

    class Role(models.TextChoices):
        USER = Role.USER.value, _("user")
        ASSISTANT = Role.ASSISTANT.value, _("assistant")
        TOOL = Role.TOOL.value, _("tool")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    conversation = models.ForeignKey(
        Conversation, models.CASCADE, related_name="messages", verbose_name=_("conversation")
    )
    parent = models.ForeignKey("self", models.CASCADE, null=True, blank=True, related_name="children")
    role = models.CharField(_("role"), max_length=10, choices=Role)
    text = models.TextField(_("text"), blank=True)
    reasoning = models.TextField(_("reasoning"), blank=True)
    html = models.TextField(blank=True, editable=False)
    #: False for an answer whose end is missing.
    complete = models.BooleanField(_("complete"), default=True)
    #: The run that wrote it; None for what a person wrote.
    run = models.ForeignKey("llmapp.Run", models.SET_NULL, null=True, blank=True, related_name="messages")
    client_id = models.CharField(max_length=200, null=True, blank=True, editable=False)  # noqa: DJ001
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)

    class Meta:
        verbose_name = _("message")
        verbose_name_plural = _("messages")
        ordering = ["created_at", "id"]
        constraints = [
            models.UniqueConstraint(fields=["conversation", "client_id"], name="llmapp_message_client_id"),
        ]

    def __str__(self) -> str:
        return f"{self.role} {self.id}"

    @property
    def public_id(self) -> str:
        """The id that clients know."""
        return self.client_id or str(self.id)


class ConversationSummary(models.Model):
    """What stands for the beginning of a path in requests that could not take all of it. The messages stay."""

    conversation = models.ForeignKey(Conversation, models.CASCADE, related_name="summaries")
    #: The last message that it stands for: with it on the path, the summary is true of that path.
    upto = models.ForeignKey(Message, models.CASCADE, related_name="+")
    text = models.TextField()
    #: How many messages it stands for, from the conversation's first.
    covers = models.PositiveIntegerField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-created_at", "-id"]

    def __str__(self) -> str:
        return f"{self.conversation_id}: {self.covers}"
