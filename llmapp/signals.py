"""What a site may listen to.

Signals are sent after the commit, in the process and the thread in which it happened: mostly a worker. They
carry ids, so a receiver reads what it needs as it is then. One that raises is logged by Django (`django.dispatch`)
and changes nothing for the run or for other receivers; one that takes long holds up a worker: hand long work
to a task of your own.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from django.db import transaction
from django.dispatch import Signal

#: A key is not asked any more, until somebody changes it or tests it. sender: Credential; credential_id, provider_id,
#: kind ("auth")
key_refused = Signal()

#: A model, or all of a provider, is not asked for a while. sender: LanguageModel or Provider; provider_id, model_id
#: (None for all of the provider), kind (of the failure that did it), seconds (until one call may try)
breaker_opened = Signal()

#: It is asked again: a call that was let through was answered. sender: LanguageModel or Provider; provider_id,
#: model_id (None for all of the provider)
breaker_closed = Signal()

#: A worker took a run for the first time. sender: Run; run_id
run_started = Signal()

#: A run came to an end. sender: Run; run_id, status, kind ("" where nothing went wrong)
run_ended = Signal()

#: An attempt is over. sender: Attempt; attempt_id, run_id, kind ("" where it succeeded), action (what comes next)
attempt_ended = Signal()

# What is wrong: each is sent once an occasion, by whichever process finds it first. Numbers of seconds are floats.

#: A run in progress is past its timeout and its grace ("past_timeout"), or has written nothing for
#: LLMAPP["RUN_SILENT_SECONDS"] ("silent"). sender: Run; run_id, reason, seconds
run_stuck = Signal()

#: The breaker of a provider, or those of all of its models, have not been closed for LLMAPP["PROVIDER_DOWN_AFTER"].
#: sender: Provider; provider_id, kind (of the failure that did it), seconds
provider_down = Signal()

#: A run has taken longer than its agent's `slow_after`, since its message was sent. sender: Run; run_id, agent (slug),
#: seconds, waiting_for ("first_token", "the_end", or "" when it has ended by now)
slow_response = Signal()

#: Of the runs that ended within LLMAPP["ERROR_RATE_WINDOW"] too many failed. sender: Run; failed, ended, share, window
error_rate = Signal()


def send_on_commit(signal: Signal, sender: Any, **facts: Any) -> None:
    """Send a signal once the transaction is committed; at once where there is none."""
    transaction.on_commit(partial(signal.send_robust, sender, **facts), robust=True)
