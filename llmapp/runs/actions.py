"""What people and programs do to runs and conversations: every door ends here.

Each action that changes a run's status writes the row and the event in one transaction. Here are the
ones for runs that no worker holds; what a worker does to its own runs is in `runs.worker`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from channels.db import database_sync_to_async
from django.db import IntegrityError, transaction
from django.utils.asyncio import async_unsafe
from django.utils.translation import gettext as _

from llmapp.conf import app_settings
from llmapp.core import events as ev
from llmapp.core.errors import ErrorKind
from llmapp.core.messages import Role
from llmapp.core.run_state import RunStatus, Trigger
from llmapp.models import AgentSettings, Conversation, Message, Run
from llmapp.models.runs import ACTIVE_RUNS

from . import limits, log, queue, records, telemetry
from .access import NotThere, agents_for, as_uuid, find_agent, find_conversation, find_run, runs_of
from .clock import db_now
from .endings import end_run
from .owner import hold, message_length, own, run_of
from .refused import Refused

TITLE_LENGTH = 60
ID_LENGTH = 200

ON_A_LOOP = "submit() would stop the event loop. Here it is: submission = await llmapp.asubmit(...)."


@dataclass(frozen=True, slots=True)
class Submission:
    """The run of a message. `created` is False when the same message had been submitted before."""

    run: Run
    created: bool


@async_unsafe(ON_A_LOOP)
def submit(
    user: Any,
    text: str,
    *,
    agent: str | None = None,
    thread_id: str | None = None,
    conversation: Conversation | None = None,
    message_id: str | None = None,
    run_id: str | None = None,
    idempotency_key: str | None = None,
) -> Submission:
    """Store a person's message and a run that will answer it, and hand the run to a worker.

    The conversation is `conversation`, or the one that the client calls `thread_id` (made when it is
    unknown), or a new one. `agent` is a slug; without it the conversation's agent answers. A
    `run_id`, `idempotency_key` or `message_id` that was seen before returns the first run.

    `user` may be a `Visitor`. Raises `Refused`, and `NotThere` for an agent or a conversation that they may not use.
    """
    _check_ids(message_id, run_id, thread_id, idempotency_key)
    if (refused := limits.told(user)) is not None:
        # A flood holds nothing; a repeat of what was taken gets its run all the same.
        if (earlier := _earlier_run(user, conversation, run_id, idempotency_key, message_id)) is not None:
            return Submission(earlier, created=False)
        raise refused
    try:
        with transaction.atomic():
            # From here on the sends of one owner come one by one: no repeat and no limit is overlooked.
            hold(user)
            current = _current(user, conversation) if conversation else _known_conversation(user, thread_id)
            if (earlier := _earlier_run(user, current, run_id, idempotency_key, message_id)) is not None:
                return Submission(earlier, created=False)
            _check_text(user, text)
            settings = _agent_for(user, agent, current)
            now = db_now()
            limits.check(user, now)
            current = current or _new_conversation(user, thread_id, text, settings)
            message = _add_message(current, text, message_id)
            run = _start_run(user, current, settings, message, now, run_id, idempotency_key)
            _move_to(current, message, settings, now)
    except IntegrityError as error:
        # What only another person's request, or the database's own constraints, can have caused.
        raise _busy() from error
    return Submission(run, created=True)


async def asubmit(user: Any, text: str, **how: Any) -> Submission:
    """`submit` for code on an event loop, with the same arguments."""
    submission: Submission = await database_sync_to_async(submit)(user, text, **how)
    return submission


def retry(owner: Any, run: Run) -> Run:
    """Answer the user message of `run` again, with a new run. The earlier answer stays in the tree."""
    if (refused := limits.told(owner)) is not None:
        raise refused
    with transaction.atomic():
        hold(owner)
        conversation = _current(owner, run.conversation)
        settings = _agent_for(owner, run.agent_slug, conversation)
        now = db_now()
        limits.check(owner, now)
        new = _start_run(owner, conversation, settings, run.message, now)
        _move_to(conversation, run.message, settings, now)
    return new


def request_stop(run: Run) -> None:
    """Ask for the end of a run: at once while it is queued, else as soon as its worker sees it.

    A run that has ended stays as it ended.
    """
    with transaction.atomic():
        run = Run.objects.select_for_update().get(pk=run.pk)
        if run.status == RunStatus.QUEUED:
            end_run(run, Trigger.CANCEL)
        elif run.active and run.stop_requested_at is None:
            run.stop_requested_at = db_now()
            run.save(update_fields=["stop_requested_at"])


def rename(conversation: Conversation, title: str) -> None:
    """Give a conversation another title. Raises `Refused` when nothing is left of it."""
    title = " ".join(title.split())[:200]
    if not title:
        raise Refused("title_empty", 422, _("A title is needed."))
    conversation.title = title
    conversation.save(update_fields=["title"])


def delete(conversation: Conversation) -> None:
    """Delete a conversation with everything in it. Its worker finds its run gone and stops."""
    with transaction.atomic():
        # Held, so that a worker cannot add to a log that is being deleted.
        list(Run.objects.select_for_update().filter(conversation=conversation).values_list("pk"))
        conversation.delete()


# --- checks ---------------------------------------------------------------------------------


def _check_ids(*ids: str | None) -> None:
    for id in ids:
        if id is not None and not (0 < len(id) <= ID_LENGTH and id.isprintable()):
            raise Refused("id_invalid", 422, _("An id is empty, too long or has control characters."))


def _check_text(owner: Any, text: str) -> None:
    if not text.strip():
        raise Refused("message_empty", 422, _("Write a message first."))
    if len(text) > (limit := message_length(owner)):
        raise Refused(
            "message_too_long",
            413,
            _("This message has %(length)d characters; at most %(limit)d can be sent.")
            % {"length": len(text), "limit": limit},
        )
    if "\0" in text or not _is_unicode(text):
        raise Refused("message_content", 422, _("The message has characters that cannot be stored."))


def _is_unicode(text: str) -> bool:
    """Say whether there is no half of a surrogate pair in it, which JSON can carry and a database cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


# --- finding what is there ------------------------------------------------------------------


def _current(owner: Any, conversation: Conversation) -> Conversation:
    """Read a conversation as it is now, and hold it: what a socket was opened on may have moved on, to a user even."""
    rows = Conversation.objects.select_for_update(of=("self",)).select_related("agent")
    if (row := rows.filter(pk=conversation.pk, **own(owner)).first()) is None:
        raise NotThere
    return row


def _known_conversation(owner: Any, thread_id: str | None) -> Conversation | None:
    if thread_id is None:
        return None
    try:
        return _current(owner, find_conversation(owner, thread_id))
    except NotThere:
        key = as_uuid(thread_id)
        if key is not None and Conversation.objects.filter(pk=key).exists():
            raise
        return None


def _earlier_run(
    owner: Any,
    conversation: Conversation | None,
    run_id: str | None,
    idempotency_key: str | None,
    message_id: str | None,
) -> Run | None:
    if run_id is not None:
        try:
            return find_run(owner, run_id)
        except NotThere:
            pass
    mine = runs_of(owner)
    if idempotency_key is not None and (run := mine.filter(idempotency_key=idempotency_key).first()):
        return run
    if message_id is None or conversation is None:
        return None
    message = find_message(conversation, message_id)
    return None if message is None else mine.filter(message=message).order_by("created_at").first()


def find_message(conversation: Conversation, id: str) -> Message | None:
    """Return the message that clients of this conversation know by `id`."""
    messages = Message.objects.filter(conversation=conversation)
    message = messages.filter(client_id=id).first()
    if message is None and (key := as_uuid(id)) is not None:
        message = messages.filter(pk=key).first()
    return message


def _agent_for(owner: Any, slug: str | None, conversation: Conversation | None) -> AgentSettings:
    if slug is None and conversation is not None and conversation.agent is not None:
        slug = conversation.agent.slug
    if slug is not None:
        return find_agent(owner, slug)
    if (agent := agents_for(owner).first()) is None:
        raise NotThere
    return agent


# --- writing --------------------------------------------------------------------------------


def _own_id(model: type[Any], id: str | None) -> dict[str, Any]:
    """Keep a client's UUID as ours where it is free; any other id of its is stored beside ours."""
    if id is None:
        return {}
    key = as_uuid(id)
    if key is not None and not model.objects.filter(pk=key).exists():
        return {"id": key}
    return {"client_id": id}


def _new_conversation(owner: Any, thread_id: str | None, text: str, agent: AgentSettings) -> Conversation:
    return Conversation.objects.create(
        agent=agent, title=title_from(text), **own(owner), **_own_id(Conversation, thread_id)
    )


def title_from(text: str) -> str:
    """Make a title of a first message: its first words."""
    line = " ".join(text.split())
    if len(line) <= TITLE_LENGTH:
        return line
    cut = line[:TITLE_LENGTH]
    # Languages without spaces are cut where they are.
    return (cut.rsplit(" ", 1)[0] if " " in cut[TITLE_LENGTH // 2 :] else cut) + "…"


def _add_message(conversation: Conversation, text: str, message_id: str | None) -> Message:
    return Message.objects.create(
        conversation=conversation,
        parent_id=conversation.leaf_id,
        role=Role.USER,
        text=text,
        **_own_id(Message, message_id),
    )


def _start_run(
    owner: Any,
    conversation: Conversation,
    agent: AgentSettings,
    message: Message,
    now: datetime,
    run_id: str | None = None,
    idempotency_key: str | None = None,
) -> Run:
    if Run.objects.filter(ACTIVE_RUNS, conversation=conversation, parent=None).exists():
        raise _busy()
    run = Run.objects.create(
        conversation=conversation,
        agent=agent,
        agent_slug=agent.slug,
        message=message,
        idempotency_key=idempotency_key,
        timeout=agent.timeout,
        attempts_limit=agent.attempts,
        created_at=now,
        enqueued_at=now,
        queue_until=now + timedelta(seconds=app_settings.QUEUE_TIMEOUT),
        **run_of(owner),
        **_own_id(Run, run_id),
    )
    said = {"id": message.public_id, "role": "user", "content": message.text}
    log.append(run.pk, [ev.run_started(conversation.thread_id, run.public_id, said)], after=0, now=now)
    records.run_changed(run, "run_queued", "queued")
    records.said(run, "user", message.text)
    telemetry.link(run)
    transaction.on_commit(lambda: hand_over(run))
    return run


def _busy() -> Refused:
    return Refused("conversation_busy", 409, _("An answer is still being written in this conversation."))


def _move_to(conversation: Conversation, leaf: Message, agent: AgentSettings, now: datetime) -> None:
    conversation.leaf = leaf
    conversation.agent = agent
    conversation.updated_at = now
    fields = ["leaf", "agent", "updated_at"]
    if not conversation.title:
        conversation.title = title_from(leaf.text)
        fields.append("title")
    conversation.save(update_fields=fields)


def hand_over(run: Run) -> None:
    """Give a queued run to the broker. When it is away, say so in the log: the sweeper tries again."""
    if queue.enqueue(run.pk):
        return
    with transaction.atomic():
        fresh = Run.objects.select_for_update().filter(pk=run.pk, status=RunStatus.QUEUED).first()
        if fresh is not None:
            notice = ev.custom("llmapp.notice", kind=str(ErrorKind.CONNECTION), action="queue")
            log.append(fresh.pk, [notice])
