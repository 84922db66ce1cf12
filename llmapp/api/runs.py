"""Runs: start, show, follow, stop, try again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse

from llmapp.models import Conversation, Message
from llmapp.runs import actions
from llmapp.runs.access import NotThere, as_uuid, find_agent, find_conversation, find_run

from . import run_input, seats, shapes
from .auth import Identity
from .http import RUN_BODY_LIMIT, endpoint, read_body, read_number, read_text
from .sse import Stream

#: Ids of one query: SQLite takes 32,766 parameters.
AT_ONCE = 10_000


def start_run(request: HttpRequest, identity: Identity, agent: str) -> Stream:
    """AG-UI's `RunAgentInput` -> the run's events. A `runId` or `Idempotency-Key` again: the first run's."""
    owner = identity.owner
    find_agent(owner, agent)
    seats.check_stream(owner)
    body = read_body(request, RUN_BODY_LIMIT)
    thread_id, run_id = read_text(body, "threadId"), read_text(body, "runId")
    thread = _thread(owner, thread_id)
    said = run_input.read(body, known=_known_ids(thread, run_input.ids_of(body)))
    submission = actions.submit(
        owner,
        said.text,
        agent=agent,
        thread_id=thread_id,
        message_id=said.message_id,
        run_id=run_id,
        idempotency_key=request.headers.get("Idempotency-Key"),
    )
    return Stream(identity, submission.run.pk)


def show_run(request: HttpRequest, identity: Identity, run: str) -> dict[str, Any]:
    return shapes.run(find_run(identity.owner, run))


def follow_run(request: HttpRequest, identity: Identity, run: str) -> Stream:
    """The run's events after `Last-Event-ID`, else after `?after=`, else all. What is empty counts as left out."""
    row = find_run(identity.owner, run)
    seats.check_stream(identity.owner)
    after = 0
    if last := request.headers.get("Last-Event-ID"):
        after = read_number(last, "Last-Event-ID")
    elif asked := request.GET.get("after"):
        after = read_number(asked, "after")
    return Stream(identity, row.pk, after)


def stop_run(request: HttpRequest, identity: Identity, run: str) -> HttpResponse:
    """202: it will end soon. A run that has ended stays as it is, and that is 202 too."""
    row = find_run(identity.owner, run)
    actions.request_stop(row)
    return JsonResponse({"run": row.public_id}, status=202)


def retry_run(request: HttpRequest, identity: Identity, run: str) -> HttpResponse:
    """202 {"run": id}: a new run answers the same message."""
    row = actions.retry(identity.owner, find_run(identity.owner, run))
    return JsonResponse({"run": row.public_id}, status=202)


runs = endpoint(POST=start_run, visitors=True)
run = endpoint(GET=show_run, visitors=True)
events = endpoint(GET=follow_run, visitors=True)
stop = endpoint(POST=stop_run, visitors=True)
retry = endpoint(POST=retry_run, visitors=True)


# --- details --------------------------------------------------------------------------------


def _thread(owner: Any, thread_id: str | None) -> Conversation | None:
    """Return the owner's conversation with this id; None where it is not known yet.

    Somebody else's is not known either: `submit` refuses it, and an id that cannot be one, too.
    """
    try:
        return find_conversation(owner, thread_id) if thread_id and thread_id.isprintable() else None
    except NotThere:
        return None


def _known_ids(thread: Conversation | None, ids: Sequence[str]) -> set[str]:
    """Return those of the ids by which a message of the thread is stored: a client's own, or ours."""
    known: set[str] = set()
    if thread is None:
        return known
    stored = Message.objects.filter(conversation=thread).order_by()
    for start in range(0, len(ids), AT_ONCE):
        some = ids[start : start + AT_ONCE]
        known.update(str(id) for id in stored.filter(client_id__in=some).values_list("client_id", flat=True))
        ours = [key for key in map(as_uuid, some) if key is not None]
        known.update(str(key) for key in stored.filter(pk__in=ours).values_list("pk", flat=True))
    return known
