"""What `serve --demo` makes: a user, an agent that plays a script, and an agent for each provider whose key is there.

What exists already is left as it is, except that keys follow the environment.
"""

from __future__ import annotations

import os
from typing import Any

from django.contrib.auth import get_user_model
from django.db import transaction
from django.urls import reverse
from django.utils.translation import gettext as _

from llmapp import versions
from llmapp.models import AgentSettings, LanguageModel, Provider
from llmapp.views.demo import token_for

from .config_file import Document, Entry, parse
from .configure import apply, next_position, set_keys

USERNAME = "admin"

#: The name of the provider, the model and the agent that need no key.
SCRIPTED = "demo"

DESCRIPTION = "Plays a script, so that you can look around without a key."

INSTRUCTIONS = "You are a helpful assistant. Answer in the language of the question. Use Markdown where it helps."

#: Environment variable -> what is set up when it holds a key. Prices are USD per million tokens.
PROVIDERS: dict[str, dict[str, Any]] = {
    "OPENAI_API_KEY": {
        "name": "openai",
        "title": "GPT",
        "backend": "openai_compatible",
        "base_url": "https://api.openai.com/v1",
        "model": {
            "model": "gpt-6.1-sol",
            "context_window": 922_000,
            "input_price": "2",
            "cached_input_price": "0.1",
            "cache_write_price": "2.5",
            "output_price": "10",
        },
    },
    "ANTHROPIC_API_KEY": {
        "name": "anthropic",
        "title": "Claude",
        "backend": "litellm",
        "model": {
            "model": "anthropic/claude-sonnet-5-5",
            "context_window": 1_000_000,
            "input_price": "2",
            "cached_input_price": "0.1",
            "cache_write_price": "2.5",
            "output_price": "10",
        },
    },
    "GEMINI_API_KEY": {
        "name": "gemini",
        "title": "Gemini",
        "backend": "openai_compatible",
        "base_url": "https://generativelanguage.googleapis.com/v1beta/openai",
        "model": {
            "model": "gemini-3.8-flash",
            "context_window": 1_048_576,
            "input_price": "0.75",
            "cached_input_price": "0.075",
            "output_price": "3.75",
        },
    },
    "DEEPSEEK_API_KEY": {
        "name": "deepseek",
        "title": "DeepSeek",
        "backend": "openai_compatible",
        "base_url": "https://api.deepseek.com/v1",
        "model": {
            "model": "deepseek-flash",
            "context_window": 1_000_000,
            "input_price": "0.3",
            "cached_input_price": "0.006",
            "output_price": "1.2",
        },
    },
}

#: Models that think first take longer to say their first word.
TIMEOUTS = {"first_token": 120, "idle": 60, "total": 600}


def make() -> None:
    """Make what is missing."""
    _user()
    wanted = _wanted()
    with transaction.atomic():
        missing = _without_what_exists(wanted)
        apply(missing)
        for entry in wanted.providers:
            _follow_environment(entry)
        if missing.agents:
            _put_last(SCRIPTED)


def sign_in_path() -> str:
    """Return the path of a link that signs the demo's user in, once."""
    return reverse("llmapp:demo-sign-in", args=[token_for(_user())])


def describe() -> list[str]:
    """Return lines that say whom one can talk to."""
    agents = ", ".join(agent.title for agent in AgentSettings.objects.filter(enabled=True))
    lines = [_("  Agents:   {names}").format(names=agents)]
    if not _with_keys():
        lines.append(_("            For a real model, set one of {names}.").format(names=", ".join(PROVIDERS)))
    return lines


def _user() -> Any:
    users = get_user_model()
    field = users.USERNAME_FIELD
    if (user := users._default_manager.filter(**{field: USERNAME}).first()) is not None:
        return user
    user = users(**{field: USERNAME, "is_staff": True, "is_superuser": True})
    user.set_unusable_password()
    user.save()
    return user


def _with_keys() -> dict[str, dict[str, Any]]:
    return {name: setup for name, setup in PROVIDERS.items() if os.environ.get(name, "").strip()}


def _wanted() -> Document:
    setups = [_real(variable, setup) for variable, setup in _with_keys().items()]
    tables = [*setups, _scripted()]
    return parse({name: [entry[name] for entry in tables] for name in ("providers", "models", "agents")}, os.environ)


def _real(variable: str, setup: dict[str, Any]) -> dict[str, dict[str, Any]]:
    endpoint: dict[str, Any] = {key: setup[key] for key in ("name", "backend", "base_url") if key in setup}
    model = setup["model"]["model"].removeprefix(f"{setup['name']}/")
    return {
        "providers": {**endpoint, "api_keys": [f"env:{variable}"], "timeouts": TIMEOUTS},
        "models": {"name": model, "provider": setup["name"], **setup["model"]},
        "agents": {
            "slug": setup["title"].lower(),
            "name": setup["title"],
            "model": model,
            "instructions": INSTRUCTIONS,
        },
    }


def _scripted() -> dict[str, dict[str, Any]]:
    return {
        "providers": {"name": SCRIPTED, "backend": "scripted"},
        "models": {"name": SCRIPTED, "provider": SCRIPTED, "model": SCRIPTED},
        "agents": {"slug": SCRIPTED, "name": "Demo", "model": SCRIPTED, "description": DESCRIPTION},
    }


def _without_what_exists(wanted: Document) -> Document:
    providers = set(Provider.objects.values_list("name", flat=True))
    models = set(LanguageModel.objects.values_list("name", flat=True))
    agents = set(AgentSettings.objects.values_list("slug", flat=True))
    return Document(
        providers=[entry for entry in wanted.providers if entry["name"] not in providers],
        models=[entry for entry in wanted.models if entry["name"] not in models],
        agents=[entry for entry in wanted.agents if entry["slug"] not in agents],
    )


def _follow_environment(entry: Entry) -> None:
    # Not to a provider of the same name that somebody pointed elsewhere.
    provider = Provider.objects.filter(name=entry["name"], base_url=entry["base_url"]).first()
    if provider is not None and entry["api_keys"]:
        set_keys(provider, entry["api_keys"])


def _put_last(slug: str) -> None:
    # The first agent is the one that a new chat begins with.
    agent = AgentSettings.objects.get(slug=slug)
    if AgentSettings.objects.exclude(slug=slug).filter(position__gte=agent.position).exists():
        agent.position = next_position()
        agent.save(update_fields=["position"])
        versions.record(agent)
