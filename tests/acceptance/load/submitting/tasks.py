from __future__ import annotations

from celery import shared_task
from django.contrib.auth import get_user_model

from llmapp import submit
from llmapp.models import AgentSettings, Conversation


@shared_task
def ask(username: str, agent: str, thread: str, run: str, text: str) -> None:
    """Start a run from a worker, as a site's own task would. It does not wait for the answer."""
    user = get_user_model().objects.get(username=username)
    of_theirs = {"user": user, "client_id": thread, "agent": AgentSettings.objects.get(slug=agent)}
    conversation, _made = Conversation.objects.get_or_create(**of_theirs)
    submit(user, text, conversation=conversation, run_id=run)
