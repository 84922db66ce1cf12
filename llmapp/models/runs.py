"""Runs, their logs, and the workers that hold them."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from llmapp.core import run_state
from llmapp.core.errors import ErrorKind
from llmapp.core.messages import Role
from llmapp.core.run_state import RunStatus

from .processes import Process
from .visitors import ONE_OWNER, Visitor

STATUSES = [
    (RunStatus.QUEUED, _("queued")),
    (RunStatus.IN_PROGRESS, _("in progress")),
    (RunStatus.COMPLETED, _("completed")),
    (RunStatus.INCOMPLETE, _("incomplete")),
    (RunStatus.FAILED, _("failed")),
    (RunStatus.CANCELLED, _("cancelled")),
    (RunStatus.REQUIRES_ACTION, _("requires action")),
]
ACTIVE = sorted(run_state.ACTIVE)
#: What active runs have in common. The status says the same, but SQLite finds their indexes by this only.
NOT_ENDED = Q(ended_at=None)
ACTIVE_RUNS = NOT_ENDED & Q(status__in=ACTIVE)


class Worker(Process):
    """One worker process, and its lease over all of its runs.

    A process whose lease was revoked never gets it back: it makes a new row.
    """

    concurrency = models.PositiveIntegerField(_("concurrency"), default=0)
    #: Why it takes no runs (`core.fitness`); empty while it takes them.
    unfit = models.JSONField(default=list, db_default=[], editable=False)
    lease_until = models.DateTimeField(_("lease until"))
    revoked_at = models.DateTimeField(_("revoked at"), null=True, blank=True)

    class Meta(Process.Meta):
        verbose_name = _("worker")
        verbose_name_plural = _("workers")


class Run(models.Model):
    """One execution of an agent for one user message.

    `timeout` and `attempts` are the agent's at the time of the submit: one budget over all takeovers.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.CASCADE,
        null=True,
        blank=True,
        related_name="llmapp_runs",
        verbose_name=_("user"),
    )
    visitor = models.ForeignKey(
        Visitor, models.CASCADE, null=True, blank=True, db_index=False, related_name="runs", editable=False
    )
    #: The mark of the network that a visitor sent from, for a day.
    address = models.CharField(max_length=32, blank=True, editable=False)
    conversation = models.ForeignKey(
        "llmapp.Conversation", models.CASCADE, related_name="runs", verbose_name=_("conversation")
    )
    agent = models.ForeignKey(
        "llmapp.AgentSettings", models.SET_NULL, null=True, related_name="runs", verbose_name=_("agent")
    )
    agent_slug = models.CharField(_("agent"), max_length=100)
    #: The user message that it answers.
    message = models.ForeignKey("llmapp.Message", models.CASCADE, related_name="asked_runs")
    parent = models.ForeignKey("self", models.CASCADE, null=True, blank=True, db_index=False, related_name="children")
    continues = models.ForeignKey("self", models.SET_NULL, null=True, blank=True, related_name="continued_by")
    client_id = models.CharField(max_length=200, null=True, blank=True, editable=False)  # noqa: DJ001
    idempotency_key = models.CharField(max_length=200, null=True, blank=True, editable=False)  # noqa: DJ001

    status = models.CharField(_("status"), max_length=20, choices=STATUSES, default=RunStatus.QUEUED)
    stop_requested_at = models.DateTimeField(_("stop requested at"), null=True, blank=True)
    worker = models.ForeignKey(Worker, models.PROTECT, null=True, blank=True, related_name="runs")
    executions = models.PositiveSmallIntegerField(_("executions"), default=0)
    error_kind = models.CharField(
        _("error"), max_length=30, blank=True, choices=[(kind.value, kind.value) for kind in ErrorKind]
    )
    error_message = models.TextField(_("error message"), blank=True)
    #: What `runs.sentences` says beside the kind: {"reset_at", "limit", "needed", "reasoning", "gone"}, where it
    #: is known.
    error_facts = models.JSONField(default=dict, blank=True, editable=False)
    #: How many messages of the conversation a summary stood for in what the model was sent.
    summarised = models.PositiveIntegerField(_("messages summarised"), null=True, blank=True)

    timeout = models.FloatField(_("timeout"), default=600)
    attempts_limit = models.PositiveIntegerField(_("attempts allowed"), default=12)
    attempts_used = models.PositiveIntegerField(_("attempts"), default=0)

    input_tokens = models.BigIntegerField(_("input tokens"), null=True, blank=True)
    cached_input_tokens = models.BigIntegerField(_("cached input tokens"), null=True, blank=True)
    cache_write_tokens = models.BigIntegerField(_("cache write tokens"), null=True, blank=True)
    output_tokens = models.BigIntegerField(_("output tokens"), null=True, blank=True)
    reasoning_tokens = models.BigIntegerField(_("reasoning tokens"), null=True, blank=True)
    cost = models.DecimalField(_("cost"), max_digits=18, decimal_places=9, null=True, blank=True)
    model_name = models.CharField(_("model"), max_length=100, blank=True)

    created_at = models.DateTimeField(_("created at"))
    #: Not claimed before this.
    not_before = models.DateTimeField(null=True, blank=True)
    #: When its task was last handed to the broker; None while that has not succeeded.
    enqueued_at = models.DateTimeField(null=True, blank=True)
    #: The end of its wait in the queue.
    queue_until = models.DateTimeField()
    started_at = models.DateTimeField(_("first claimed at"), null=True, blank=True)
    #: `started_at` + `timeout`, over all takeovers.
    run_until = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(_("ended at"), null=True, blank=True)
    compacted_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        verbose_name = _("run")
        verbose_name_plural = _("runs")
        ordering = ["-created_at"]
        indexes = [
            models.Index(fields=["user", "created_at"], name="llmapp_run_user_created"),
            models.Index(
                fields=["visitor", "created_at"], name="llmapp_run_visitor", condition=Q(visitor__isnull=False)
            ),
            models.Index(fields=["address", "created_at"], name="llmapp_run_address", condition=Q(address__gt="")),
            models.Index(fields=["-created_at", "-id"], name="llmapp_run_newest"),
            models.Index(fields=["conversation", "-created_at"], name="llmapp_run_of_conversation"),
            models.Index(fields=["status", "created_at"], name="llmapp_run_active", condition=NOT_ENDED),
            models.Index(fields=["user"], name="llmapp_run_user_active", condition=NOT_ENDED),
            # Not of the many that have none: SQLite would take "without a parent" for something rare.
            models.Index(fields=["parent"], name="llmapp_run_parent", condition=Q(parent__isnull=False)),
            models.Index(
                fields=["ended_at"],
                name="llmapp_run_to_compact",
                condition=Q(compacted_at__isnull=True, ended_at__isnull=False),
            ),
        ]
        constraints = [
            models.UniqueConstraint(fields=["user", "client_id"], name="llmapp_run_client_id"),
            models.UniqueConstraint(fields=["user", "idempotency_key"], name="llmapp_run_idempotency_key"),
            models.UniqueConstraint(fields=["visitor", "client_id"], name="llmapp_run_visitor_client_id"),
            models.UniqueConstraint(fields=["visitor", "idempotency_key"], name="llmapp_run_visitor_idempotency_key"),
            models.CheckConstraint(condition=ONE_OWNER, name="llmapp_run_one_owner"),
            models.UniqueConstraint(
                fields=["conversation"],
                condition=NOT_ENDED & Q(parent=None),
                name="llmapp_run_one_active",
            ),
            models.CheckConstraint(
                condition=Q(status__in=sorted(RunStatus)),
                name="llmapp_run_status_known",
            ),
            models.CheckConstraint(
                condition=Q(status=RunStatus.IN_PROGRESS, worker__isnull=False)
                | (~Q(status=RunStatus.IN_PROGRESS) & Q(worker__isnull=True)),
                name="llmapp_run_leased_iff_in_progress",
            ),
            models.CheckConstraint(
                condition=Q(status__in=ACTIVE, ended_at__isnull=True)
                | (~Q(status__in=ACTIVE) & Q(ended_at__isnull=False)),
                name="llmapp_run_ended_iff_at_an_end",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.agent_slug} {self.id}"

    @property
    def public_id(self) -> str:
        """The id that clients know: their own, where they gave one."""
        return self.client_id or str(self.id)

    @property
    def active(self) -> bool:
        return self.status in run_state.ACTIVE

    @property
    def answer(self) -> str:
        """The text of its last message: all of it, or as far as it came (`incomplete`). Empty while there is none."""
        said = [message for message in self.messages.all() if message.role == Role.ASSISTANT]
        return said[-1].text if said else ""


class RunEvent(models.Model):
    """A numbered entry of a run's log: an AG-UI event, as JSON text.

    Text, not a JSON column: readers pass it on without parsing it. `status` is set where the entry
    changed the run's status, so that readers who only follow statuses need not look inside.
    """

    run = models.ForeignKey(Run, models.CASCADE, related_name="events", db_index=False)
    seq = models.PositiveIntegerField()
    status = models.CharField(max_length=20, blank=True)
    data = models.TextField()
    created_at = models.DateTimeField()

    class Meta:
        verbose_name = _("run event")
        verbose_name_plural = _("run events")
        ordering = ["run", "seq"]
        constraints = [models.UniqueConstraint(fields=["run", "seq"], name="llmapp_event_run_seq")]

    def __str__(self) -> str:
        return f"{self.run_id} {self.seq}"
