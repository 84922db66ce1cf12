"""A conversation as the page shows it: questions, and what the runs that answered them left.

A part of it at a time, so that a page costs the same however long the conversation is.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

from django.db.models import F
from django.utils import formats
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from llmapp.core.run_state import RunStatus
from llmapp.models import Conversation, Message, Run
from llmapp.runs import sentences
from llmapp.runs.access import NotThere
from llmapp.runs.thread import in_order, messages_to

#: Questions, with their answers, that a page shows at once.
EXCHANGES = 20

#: How the ends are called that are not a whole answer.
TITLES: dict[str, Promise | str] = {
    RunStatus.INCOMPLETE: _("The answer is not complete."),
    RunStatus.FAILED: _("The answer failed."),
    RunStatus.CANCELLED: _("You stopped this answer."),
    RunStatus.REQUIRES_ACTION: _("The agent waits for a decision."),
}


def summarised(count: int) -> str:
    """Return what stands under an answer to a conversation whose beginning was summarised for the model."""
    return ngettext(
        "{count} earlier message was summarised for the model; it is kept.",
        "{count} earlier messages were summarised for the model; they are kept.",
        count,
    )


@dataclass(slots=True)
class Answer:
    """A run and the messages that it wrote. They are empty while it is active: the page replays its log."""

    run: Run
    messages: list[Message] = field(default_factory=list)

    @property
    def raw(self) -> list[str]:
        """The texts as the model wrote them, for copying."""
        return [message.text for message in self.messages]

    @property
    def agent(self) -> str:
        return self.run.agent.title if self.run.agent else self.run.agent_slug

    @property
    def reasoning(self) -> str:
        return "\n\n".join(message.reasoning for message in self.messages if message.reasoning)

    @property
    def ended_badly(self) -> bool:
        return self.run.status in TITLES

    @property
    def end_title(self) -> str:
        return str(TITLES[self.run.status]) if self.ended_badly else ""

    @property
    def end_text(self) -> str:
        """The cause and what to do, in the reader's language."""
        run = self.run
        return sentences.cause(run.error_kind, run.error_facts) if self.ended_badly and run.error_kind else ""

    @property
    def facts(self) -> str:
        """What belongs to the cause, as JSON, for the page to say times by the reader's clock."""
        return json.dumps(self.run.error_facts) if self.end_text and self.run.error_facts else ""

    @property
    def until(self) -> str:
        """When a run that waits goes on: its log says only for how long."""
        waits = self.run.status == RunStatus.QUEUED and self.run.not_before is not None
        return self.run.not_before.isoformat() if waits and self.run.not_before else ""

    @property
    def summarised(self) -> str:
        count = 0 if self.run.active else self.run.summarised or 0
        return summarised(count).format(count=formats.number_format(count, force_grouping=True)) if count else ""

    @property
    def seconds(self) -> float | None:
        if self.run.ended_at is None:
            return None
        return (self.run.ended_at - (self.run.started_at or self.run.created_at)).total_seconds()


@dataclass(slots=True)
class Exchange:
    """A question and its answers: more than one where a run continues another."""

    question: Message
    answers: list[Answer] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Thread:
    """A part of the path of a conversation: the newest exchanges, or some before those.

    `version` changes when anything on it does. There is more before the message `earlier`; None at the start.
    """

    exchanges: list[Exchange]
    version: str
    earlier: uuid.UUID | None = None

    @classmethod
    def of(cls, conversation: Conversation | None) -> Thread:
        """Return the newest exchanges."""
        if conversation is None:
            return cls([], "")
        # The leaf comes with the newest run, in one statement: a run that ends just now would be shown without its
        # answer. Only the newest run can be active; what the others left does not change any more.
        rows = conversation.runs.filter(parent=None).select_related("agent").annotate(leaf=F("conversation__leaf"))
        newest = rows.order_by("-created_at").first()
        leaf = conversation.leaf_id if newest is None else newest.message_id if newest.active else newest.leaf
        return cls._up_to(leaf, newest)

    @classmethod
    def before(cls, conversation: Conversation, message: uuid.UUID) -> Thread:
        """Return the exchanges before a message. Raises `NotThere` where the conversation has no such message."""
        found = conversation.messages.filter(pk=message).values_list("parent").first()
        if found is None:
            raise NotThere
        return cls._up_to(found[0], None)

    @classmethod
    def _up_to(cls, leaf: uuid.UUID | None, newest: Run | None) -> Thread:
        path = in_order(messages_to(leaf, questions=EXCHANGES), leaf)
        asked = Run.objects.filter(message__in=[m.pk for m in path if m.role == Message.Role.USER], parent=None)
        runs = list(asked.select_related("agent").order_by("created_at"))
        if newest is not None:
            # As it was when the leaf was read.
            runs = [newest if run.pk == newest.pk else run for run in runs if run.created_at <= newest.created_at]
        return cls(_exchanges(path, runs), _version(leaf, runs), path[0].pk if path and path[0].parent_id else None)


def _exchanges(path: list[Message], runs: Sequence[Run]) -> list[Exchange]:
    by_id = {run.pk: run for run in runs}
    exchanges: list[Exchange] = []
    for message in path:
        if message.role == Message.Role.USER:
            exchanges.append(Exchange(message))
        elif exchanges and message.role == Message.Role.ASSISTANT and message.run_id in by_id:
            _place(exchanges[-1], by_id[message.run_id], message)
    for exchange in exchanges:
        _complete(exchange, [run for run in runs if run.message_id == exchange.question.pk])
    return exchanges


def _place(exchange: Exchange, run: Run, message: Message) -> None:
    if not exchange.answers or exchange.answers[-1].run.pk != run.pk:
        exchange.answers.append(Answer(run))
    exchange.answers[-1].messages.append(message)


def _complete(exchange: Exchange, runs: list[Run]) -> None:
    """Show the latest run, where it left no message: it is active, or it ended before its first word."""
    if runs and all(answer.run.created_at < runs[-1].created_at for answer in exchange.answers):
        exchange.answers = [Answer(runs[-1])]


def _version(leaf: uuid.UUID | None, runs: Sequence[Run]) -> str:
    facts = [str(leaf), *(f"{run.pk}{run.status}" for run in runs)]
    return hashlib.sha256("|".join(facts).encode()).hexdigest()[:16]
