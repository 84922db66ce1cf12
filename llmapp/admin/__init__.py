"""The admin: providers, keys, models, agents; what runs did and what they cost.

One file a subject. Each door here ends in the same functions as the other doors: `versions` for agents,
`runs.actions` for runs, `config_values` for what a field may hold. Only Django's own admin is relied on, so
that a site's theme for it fits.
"""

from . import access, agents, configuration, conversations, language_models, overview, providers, runs, workers

__all__ = [
    "access",
    "agents",
    "configuration",
    "conversations",
    "language_models",
    "overview",
    "providers",
    "runs",
    "workers",
]
