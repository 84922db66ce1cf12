"""Mails to the site's admins: one an hour of each subject, with the number of those that were left out.

They are sent by a thread of their own, so a mail server that does not answer holds nobody up. A mail carries ids,
names that the site's own people gave, and figures: no key, and nothing of a conversation.
"""

from __future__ import annotations

import atexit
import logging
import queue
import threading
from datetime import datetime
from typing import Any

from django.conf import settings
from django.core.mail import mail_admins
from django.db import connections
from django.db.models import F
from django.urls import NoReverseMatch, reverse
from django.utils import translation
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from llmapp.core.alarms import MAIL_EVERY, may_mail
from llmapp.models import Mailing, Provider

logger = logging.getLogger("llmapp.mails")

#: Mails that wait for the server. More are left out, and counted.
WAITING = 20
#: Seconds that a process which ends gives its last mails.
AT_THE_END = 3.0


def mail(name: str, facts: dict[str, Any], now: datetime) -> None:
    """Mail an alarm, unless one of its subject was mailed within the hour: then it is counted."""
    if not settings.ADMINS:
        return
    subject = subject_of(name, facts)
    row, _made = Mailing.objects.get_or_create(subject=subject)
    mine = Mailing.objects.filter(subject=subject)
    # Of two that come at once, one mails.
    if may_mail(row.mailed_at, now) and mine.filter(mailed_at=row.mailed_at).update(mailed_at=now, left_out=0):
        with translation.override(settings.LANGUAGE_CODE):  # who looks may be a person's request
            title, body = _written(name, facts, row.left_out)
        _post.put(subject, title, body, row.left_out)
    else:
        mine.update(left_out=F("left_out") + 1)


def subject_of(name: str, facts: dict[str, Any]) -> str:
    """Return what is mailed once an hour: each provider, and each agent, by itself."""
    return ":".join([name, *(str(facts[key]) for key in ("provider_id", "agent") if key in facts)])


def _written(name: str, facts: dict[str, Any], left_out: int) -> tuple[str, str]:
    """Return the subject line and the body."""
    lines = [sentence(name, facts), *_way(name, facts)]
    if left_out:
        hours = f"{MAIL_EVERY.total_seconds() / 3600:g}"
        text = ngettext(
            "{number} more was not mailed: there is one mail of a kind in {hours} h.",
            "{number} more were not mailed: there is one mail of a kind in {hours} h.",
            left_out,
        )
        lines.append(text.format(number=left_out, hours=hours))
    return TITLES[name](), "\n\n".join(lines) + "\n"


TITLES = {
    "run_stuck": lambda: _("A run is stuck"),
    "provider_down": lambda: _("A provider does not answer"),
    "slow_response": lambda: _("An answer is slow"),
    "error_rate": lambda: _("Many runs fail"),
}


def sentence(name: str, facts: dict[str, Any]) -> str:
    """Return what is wrong, in a sentence."""
    values = {**facts, "seconds": f"{facts.get('seconds', 0):g}"}
    match name:
        case "run_stuck" if facts["reason"] == "silent":
            text = _("Run {run_id} is in progress and has written nothing for {seconds} s.")
        case "run_stuck":
            text = _("Run {run_id} is past its timeout by {seconds} s; its worker is relieved of it.")
        case "provider_down":
            values["provider"] = provider_name(facts["provider_id"])
            text = _("Provider {provider} has not been answering for {seconds} s ({kind}).")
        case "slow_response" if facts["waiting_for"] == "first_token":
            text = _("Run {run_id} of the agent {agent} has shown nothing for {seconds} s.")
        case "slow_response":
            text = _("Run {run_id} of the agent {agent} has taken {seconds} s.")
        case _other:
            values |= {"percent": f"{100 * facts['share']:.0f}", "minutes": f"{facts['window'] / 60:g}"}
            text = _("{failed} of {ended} runs of the last {minutes} minutes failed ({percent} %).")
    return text.format(**values)


def provider_name(provider_id: int) -> str:
    return Provider.objects.filter(pk=provider_id).values_list("name", flat=True).first() or f"#{provider_id}"


def _way(name: str, facts: dict[str, Any]) -> list[str]:
    """Return where it is to be seen. The host is the site's own business."""
    try:
        if "run_id" in facts:
            return [reverse("admin:llmapp_run_change", args=[facts["run_id"]])]
        if "provider_id" in facts:
            return [reverse("admin:llmapp_provider_change", args=[facts["provider_id"]])]
        return [reverse("admin:llmapp_overview_changelist")]
    except NoReverseMatch:
        return []  # a site without our admin


class Post:
    """A thread that hands mails to the server, one after the other."""

    def __init__(self) -> None:
        self._waiting: queue.Queue[tuple[str, str, str, int]] = queue.Queue(WAITING)
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def put(self, subject: str, title: str, body: str, left_out: int) -> None:
        """Have it sent. Returns at once."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._send_all, name="llmapp-mails", daemon=True)
                self._thread.start()
                atexit.register(self.wait, AT_THE_END)
        try:
            self._waiting.put_nowait((subject, title, body, left_out))
        except queue.Full:
            _not_sent(subject, left_out, "too many wait for the mail server")

    def wait(self, seconds: float) -> bool:
        """Wait until all that was put is sent; say whether it was."""
        with self._waiting.all_tasks_done:
            return self._waiting.all_tasks_done.wait_for(lambda: not self._waiting.unfinished_tasks, seconds)

    def _send_all(self) -> None:
        while True:
            subject, title, body, left_out = self._waiting.get()
            try:
                mail_admins(title, body)
            except Exception as error:
                # A server that is not there, that refuses us, or a backend of the site: the next alarm tries again.
                _not_sent(subject, left_out, type(error).__name__)
            finally:
                connections.close_all()
                self._waiting.task_done()


def _not_sent(subject: str, left_out: int, why: str) -> None:
    logger.warning("the mail %s was not sent: %s", subject, why, extra={"action": "mail_not_sent"})
    Mailing.objects.filter(subject=subject).update(mailed_at=None, left_out=F("left_out") + left_out + 1)


_post = Post()
