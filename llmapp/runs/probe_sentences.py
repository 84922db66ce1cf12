"""What a person reads about a probe: each mistake in one sentence that says what to do.

Codes are stored, sentences are not: everybody reads them in their own language.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

TITLES: dict[str, Promise] = {
    "worker": gettext_lazy("A worker takes it"),
    "resolve": gettext_lazy("Name resolved"),
    "connect": gettext_lazy("Connected"),
    "tls": gettext_lazy("Encrypted"),
    "sign_in": gettext_lazy("Signed in"),
    "answer": gettext_lazy("The model answers"),
    "end": gettext_lazy("The answer ends properly"),
    "key": gettext_lazy("Signed in with a further key"),
    "again": gettext_lazy("The request is sent again"),
    "stream": gettext_lazy("Streaming"),
    "tools": gettext_lazy("Tools"),
    "streamed_tools": gettext_lazy("Tools while streaming"),
    "tool_choice": gettext_lazy("A tool can be demanded"),
    "json_mode": gettext_lazy("JSON mode"),
    "schema": gettext_lazy("Answers by a schema"),
    "stream_options": gettext_lazy("Token counts while streaming"),
    "system_role:system": gettext_lazy("The role “system”"),
    "system_role:developer": gettext_lazy("The role “developer”"),
    "output_limit:max_tokens": gettext_lazy("Output limit as “max_tokens”"),
    "output_limit:max_completion_tokens": gettext_lazy("Output limit as “max_completion_tokens”"),
}

SENTENCES: dict[str, Promise] = {
    # the way there
    "addresses": gettext_lazy("%(host)s is %(addresses)s."),
    "tls_version": gettext_lazy("%(version)s, and the certificate is valid."),
    "plain": gettext_lazy("The address begins with http://: keys and messages travel unencrypted."),
    "no_address": gettext_lazy("This provider has no address of its own: the backend knows the way."),
    "unknown_backend": gettext_lazy("There is no backend called %(backend)s on the worker: choose another one."),
    "bad_address": gettext_lazy("The base URL is not an address: it should look like https://api.example.com/v1."),
    "unknown_host": gettext_lazy("Nobody knows a host called %(host)s: look for a typing mistake in the base URL."),
    "port_closed": gettext_lazy(
        "%(host)s is there, but nothing listens on port %(port)s: is the provider running, and is the port right?"
    ),
    "no_connection_in_time": gettext_lazy(
        "%(host)s did not answer within %(seconds)s seconds: look at the address, and at firewalls in between."
    ),
    "unreachable": gettext_lazy("The worker's machine finds no way to %(host)s: look at its network."),
    "bad_certificate": gettext_lazy("The certificate of %(host)s is not valid for it: look at the host's name."),
    "expired_certificate": gettext_lazy("The certificate of %(host)s has expired: its owner has to renew it."),
    "untrusted_certificate": gettext_lazy(
        "Nobody whom this site trusts has signed the certificate of %(host)s: it needs one of a public authority."
    ),
    "no_tls": gettext_lazy("%(host)s does not speak TLS on port %(port)s: should the address begin with http://?"),
    # signing in
    "with_key": gettext_lazy("With the key that ends with %(hint)s."),
    "without_key": gettext_lazy("Without a key."),
    "no_model": gettext_lazy("Add a model of this provider, then test again: it takes a model to sign in."),
    "undecipherable": gettext_lazy(
        "The stored key cannot be read with this site's encryption keys: type it again, or restore the old ones."
    ),
    "no_key": gettext_lazy("The provider wants a key, and none is stored: add one to the provider."),
    "wrong_key": gettext_lazy("The provider does not accept the key that ends with %(hint)s: type it again."),
    "web_page": gettext_lazy(
        "A web page answers at %(url)s, not an API: look at the path of the base URL, which often ends with /v1."
    ),
    "wrong_path": gettext_lazy(
        "There is nothing at %(url)s (HTTP %(status)s): look at the path of the base URL, which often ends with /v1."
    ),
    "redirected": gettext_lazy("%(url)s leads elsewhere, and keys do not follow: set the address that it leads to."),
    "broken_connection": gettext_lazy("The connection broke before the provider said anything: try again."),
    # the model
    "first_token": gettext_lazy("The first word came after %(seconds)s seconds."),
    "whole": gettext_lazy("It came in one piece."),
    "wrong_model": gettext_lazy("The provider has no model called %(model)s: look at the provider's list of names."),
    "no_permission": gettext_lazy("The key is good, but it may not use %(model)s: allow it in the provider's console."),
    "no_credit": gettext_lazy("The key is good, but the account has no credit left: top it up."),
    "no_quota": gettext_lazy("The key is good, but its quota is used up: wait, or have it raised."),
    "rate_limited": gettext_lazy("The key is good, but there are too many requests just now: try again in a minute."),
    "provider_down": gettext_lazy(
        "The provider is down or overloaded (HTTP %(status)s): nothing is wrong here, try again later."
    ),
    "too_slow": gettext_lazy("No answer came in time: the provider is slow, or the timeouts are too short."),
    "not_an_answer": gettext_lazy("What came back is no answer of a model: does this address speak the OpenAI format?"),
    "refused": gettext_lazy("The provider refuses this request: its words below say why."),
    "cut": gettext_lazy("The answer began, but its end never came: the provider, or a proxy before it, cuts streams."),
    "stalled": gettext_lazy("The answer began, then stood still: the provider, or a proxy before it, holds it back."),
    # features
    "works": gettext_lazy("Works."),
    "not_supported": gettext_lazy("Not supported."),
    "unclear": gettext_lazy("Accepted, but not made use of."),
    "not_found_out": gettext_lazy("Could not be found out."),
    # a request that is sent again
    "messages_gone": gettext_lazy("Messages of this request are not stored any more: it cannot be sent again."),
    # ourselves
    "no_broker": gettext_lazy("The broker did not take the test: is it running, and is CELERY_BROKER_URL right?"),
    "took_too_long": gettext_lazy("The test took too long as a whole and was given up."),
    "internal": gettext_lazy("The test failed in our own code: the worker's log says where."),
}

STANDINGS: dict[str, Promise] = {
    "waiting": gettext_lazy("Waiting for a worker …"),
    "running": gettext_lazy("Being tested …"),
    "passed": gettext_lazy("All is well."),
    "answered": gettext_lazy("The model answered. Nothing of the conversation was changed."),
    # No more could be tested without a model: neither the key nor an answer.
    "way_clear": gettext_lazy(
        "The provider can be reached. Whether it takes the key is not tested: add a model first."
    ),
    "lost": gettext_lazy("The worker that carried the test out has gone. Test again."),
    "busy": gettext_lazy(
        "A worker is alive, but has not taken the test: it is busy, or it does not listen to the queue llmapp."
    ),
}


def title(name: str) -> str:
    return str(TITLES.get(name, name))


def sentence(code: str, values: Mapping[str, Any]) -> str:
    """Return the sentence in the language that is active; of a code that is not known any more, the code."""
    return str(SENTENCES[code]) % values if code in SENTENCES else code


def summary(standing: str, failed: str = "", command: str = "") -> str:
    """Return what is said on top. `failed` is the sentence of the stage that failed, `command` starts a worker."""
    if standing == "no_worker":
        return _("No worker is running, so nothing can be tested. Start one: %(command)s") % {"command": command}
    if standing == "failed":
        return failed or _("It does not work.")
    return str(STANDINGS[standing])
