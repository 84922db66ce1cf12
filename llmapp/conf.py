"""The `LLMAPP` setting: typed defaults, read live, so that `override_settings` works."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_type_hints

from django.conf import settings


class AppSettings:
    """Defaults of the keys of `settings.LLMAPP`. Times are seconds, sizes are as said."""

    #: The ring of Fernet keys for provider keys; the first one encrypts.
    ENCRYPTION_KEYS: Sequence[str] = ()
    #: Further backends: alias -> dotted path of a `Backend` class.
    BACKENDS: Mapping[str, str] = {}
    #: How long a run may wait for a worker.
    QUEUE_TIMEOUT: float = 900
    #: A provider that asks for a longer wait than this is left for the next model, if there is one.
    SWITCH_AFTER: float = 20
    #: How long it is remembered what has helped after which failure.
    HEALTH_WINDOW: float = 900
    MAX_ACTIVE_RUNS_PER_USER: int = 3
    SENDS_PER_MINUTE: int = 30
    #: Open websockets of one user in one web process.
    MAX_SOCKETS_PER_USER: int = 20
    #: Characters of one message.
    MAX_MESSAGE_LENGTH: int = 100_000
    #: What a visitor without an account may do with a public agent.
    VISITOR_ACTIVE_RUNS: int = 1
    VISITOR_SENDS_PER_MINUTE: int = 6
    VISITOR_SENDS_PER_DAY: int = 100
    #: Characters of one message.
    VISITOR_MESSAGE_LENGTH: int = 4_000
    #: Open websockets and event streams in one web process.
    VISITOR_SOCKETS: int = 5
    #: What all visitors from one network address may do together.
    ADDRESS_ACTIVE_RUNS: int = 4
    ADDRESS_SENDS_PER_MINUTE: int = 20
    ADDRESS_SENDS_PER_DAY: int = 500
    ADDRESS_SOCKETS: int = 20
    #: Runs of all visitors together, so that they never fill the workers.
    VISITORS_ACTIVE_RUNS: int = 20
    #: Days after its last message a visitor's conversation is deleted.
    VISITOR_DAYS: int = 30
    #: Proxies in front of the site that add to `X-Forwarded-For`.
    TRUSTED_PROXIES: int = 0
    #: Whether prompts and answers may appear in the log `llmapp.content`.
    LOG_CONTENT: bool = False
    #: When a worker has not renewed its lease for this long, its runs are taken over.
    LEASE_SECONDS: float = 12
    #: How often a worker renews its lease. One that misses three is said to be away.
    HEARTBEAT_SECONDS: float = 1
    #: How often each worker process sweeps.
    SWEEP_SECONDS: float = 2
    #: What a run may take beyond its timeout before the sweeper ends it.
    GRACE_SECONDS: float = 10
    #: A queued run that no worker claimed for this long is handed to the broker again.
    REQUEUE_SECONDS: float = 5
    #: How long a worker that shuts down lets its runs go on before it hands them back.
    SHUTDOWN_SECONDS: float = 3
    #: A run in progress that has written nothing for this long is reported as stuck. 0: never.
    RUN_SILENT_SECONDS: float = 180
    #: A provider whose breakers have not been closed for this long is reported as down. 0: never.
    PROVIDER_DOWN_AFTER: float = 300
    #: The share of failed runs, of those that ended within the window, that is reported. 0: never.
    ERROR_RATE: float = 0.5
    ERROR_RATE_WINDOW: float = 600
    #: Fewer runs than these say nothing about a share.
    ERROR_RATE_RUNS: int = 10
    #: Which of `llmapp.core.alarms.ALARMS` are mailed to the site's ADMINS.
    ALARM_MAILS: Sequence[str] = ("run_stuck", "provider_down", "error_rate")
    #: The log of a run is compacted this long after its end.
    COMPACT_AFTER: float = 24 * 3600

    def __getattribute__(self, name: str) -> Any:
        if name.isupper() and name in (configured := getattr(settings, "LLMAPP", {})):
            return configured[name]
        return super().__getattribute__(name)

    @staticmethod
    def known() -> frozenset[str]:
        """Return the names of all settings."""
        return frozenset(get_type_hints(AppSettings))


app_settings = AppSettings()
