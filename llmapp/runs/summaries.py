"""Summaries of the beginnings of conversations, kept for the next request.

A summary is true of each path that its last message lies on: a branch that left the conversation before that message
never sees it. It is looked for only when a conversation is too long: who is short costs no query.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from django.db import transaction

from llmapp.calls.base import Summary
from llmapp.models import ConversationSummary, Message

#: How many a conversation has at most: the newest, over all of its branches.
KEPT = 20


@transaction.atomic
def keep(conversation_id: uuid.UUID, summary: Summary) -> None:
    """Store a summary. One whose last message is stored nowhere, or is gone by now, is for its request only."""
    if not summary.upto:
        return
    message = (
        Message.objects.select_for_update().filter(conversation=conversation_id, pk=summary.upto).only("pk").first()
    )
    if message is None:
        return
    mine = ConversationSummary.objects.filter(conversation=conversation_id)
    mine.filter(pk__in=list(mine.values_list("pk", flat=True)[KEPT - 1 :])).delete()
    mine.create(conversation_id=conversation_id, upto=message, text=summary.text, covers=summary.covers)


def latest(path_ids: Sequence[str]) -> Summary | None:
    """Return the newest summary whose last message is on a path, given the ids of its messages in order.

    `covers` counts along these ids, whatever was counted when it was made. It takes one query.
    """
    if not path_ids:
        return None
    path = [uuid.UUID(id) for id in path_ids]
    places = {id: place for place, id in enumerate(path, start=1)}
    rows = ConversationSummary.objects.filter(conversation__messages=path[-1]).values_list("upto_id", "text")
    for upto, text in rows:
        if upto in places:
            return Summary(text, places[upto], str(upto))
    return None
