"""System checks: what would go wrong later is said at the start, with a hint that mends it.

    llmapp.E001  DEBUG=False without ENCRYPTION_KEYS
    llmapp.E002  an unknown key in settings.LLMAPP
    llmapp.E003  a value of the wrong type in settings.LLMAPP
    llmapp.E004  a database that is not supported
    llmapp.E005  a Celery pool that is not supported
    llmapp.E006  a malicious litellm
    llmapp.E007  Celery does not send runs to their queue
    llmapp.W001  SQLite that is not set up for several processes
    llmapp.W002  an old Daphne
    llmapp.W003  Celery accepts pickled messages
    llmapp.W004  tasks are executed eagerly; runs are not
    llmapp.W005  a broker that only one process can see
    llmapp.W006  any host name is allowed
    llmapp.W007  ASGI_APPLICATION is not set
    llmapp.W008  the ASGI application has no websockets of ours, or cannot be imported (`check --deploy`)
    llmapp.W009  llmapp.urls are not included
    llmapp.W010  no middleware signs people in
    llmapp.W011  no middleware gives out CSRF tokens
    llmapp.W012  our templates are not found
    llmapp.W013  an old litellm
    llmapp.W014  persistent connections to PostgreSQL under ASGI
    llmapp.W019  times in settings.LLMAPP that defeat each other

With `--database default`, and so before `migrate`, what the database knows of is looked at too:

    llmapp.W015  the broker loses patience before an agent does
    llmapp.W016  Celery ends tasks before an agent's timeout
    llmapp.W017  a stored key that cannot be read
    llmapp.W018  the database could not be asked

Nothing here imports litellm: that would cost each process 160 MB, and run what E006 warns of. No broker is asked.
"""

from __future__ import annotations

from . import celery, databases, packages, settings, site, stored

__all__ = ["celery", "databases", "packages", "settings", "site", "stored"]
