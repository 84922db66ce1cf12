"""Every sentence that the chat page's JavaScript says, in the reader's language.

One place, so that one catalogue holds them all. Values stand in braces; a sentence with a count has one
form for each plural category that Unicode knows (`Intl.PluralRules` picks it): languages with one or two
forms, as gettext has them, fill `one` and `other`.
"""

from __future__ import annotations

from collections.abc import Callable

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from llmapp.core.errors import ErrorKind
from llmapp.runs import sentences

from .thread import TITLES, summarised

Strings = dict[str, str | dict[str, str]]


def page_strings() -> Strings:
    """Return all of them, by name."""
    return {
        **_states(),
        **{f"end.{status}": str(title) for status, title in TITLES.items()},
        **_recovery(),
        **_refusals(),
        **_sidebar(),
        **_endings(),
        **{f"problem.{kind}": sentence for kind, sentence in problems().items()},
        "earlier.shown": forms(
            lambda n: ngettext("{count} earlier message is shown.", "{count} earlier messages are shown.", n)
        ),
        "meta.tokens": forms(lambda n: ngettext("{count} token", "{count} tokens", n)),
        "meta.tokens_in": forms(lambda n: ngettext("{count} token in", "{count} tokens in", n)),
        "meta.tokens_out": forms(lambda n: ngettext("{count} token out", "{count} tokens out", n)),
    }


def forms(sentence: Callable[[int], str]) -> dict[str, str]:
    return {"one": sentence(1), "other": sentence(2)}


def problems() -> dict[ErrorKind, str]:
    """Return what is wrong, in a few words: the first half of the live status line."""
    return {
        ErrorKind.AUTH: _("The key was not accepted"),
        ErrorKind.PERMISSION: _("The key may not use this model"),
        ErrorKind.BILLING: _("Out of credit"),
        ErrorKind.QUOTA_EXHAUSTED: _("Quota used up"),
        ErrorKind.RATE_LIMIT: _("Too many requests"),
        ErrorKind.OVERLOADED: _("The provider is overloaded"),
        ErrorKind.SERVER_ERROR: _("The provider had an error"),
        ErrorKind.TIMEOUT: _("No answer in time"),
        ErrorKind.CONNECTION: _("No connection to the provider"),
        ErrorKind.STREAM_INTERRUPTED: _("The connection broke off"),
        ErrorKind.CONTEXT_OVERFLOW: _("The conversation is too long for the model"),
        ErrorKind.PAYLOAD_TOO_LARGE: _("The request is too large"),
        ErrorKind.CONTENT_POLICY: _("Refused by the provider’s content policy"),
        ErrorKind.INVALID_REQUEST: _("The provider refused the request"),
        ErrorKind.UNSUPPORTED_PARAMETER: _("The model does not know a setting"),
        ErrorKind.MODEL_NOT_FOUND: _("The model is not available"),
        ErrorKind.THINKING_SIGNATURE: _("Earlier reasoning was not accepted"),
        ErrorKind.OUTPUT_TRUNCATED: _("The answer reached the length limit"),
        ErrorKind.INVALID_RESPONSE: _("The provider sent no valid answer"),
        ErrorKind.CANCELLED: _("Stopped"),
    }


def _states() -> Strings:
    return {
        "answer.queued": _("Waiting to start"),
        "answer.requeued": _("The worker was lost. Another one takes over"),
        "answer.thinking": _("Thinking"),
        "answer.stopping": _("Stopping"),
        "say.writing": _("The answer is being written."),
        "say.complete": _("The answer is complete."),
        "say.ended": _("The answer has ended."),
        "message_to": _("Message {name}"),
        "copied": _("Copied"),
        "copy_failed": _("The browser did not allow copying"),
        "copy.code": _("Copy code"),
        "meta.detail": _("{input} tokens in, {output} tokens out"),
        "connection.reconnecting": _("Connection lost. Reconnecting…"),
        "connection.offline": _("You are offline. The chat goes on as soon as you are back."),
        "connection.closed": _("This chat is no longer open to you. Reload the page."),
        "connection.signed_out": _("You are no longer signed in. Sign in again; your draft is kept."),
        "connection.deleted": _("This conversation was deleted."),
        "connection.back": _("Connected again."),
    }


def _recovery() -> Strings:
    """The live status line: what is wrong (`problems`), and what is done about it, by the action that is taken."""
    return {
        "line.both": _("{problem}. {action}"),
        "line.attempt": _("{line} (attempt {attempt})"),
        "action.wait": _("Trying again in {seconds}"),
        "action.wait_soon": _("Trying again"),
        "action.wait_foreseen": _("Keeping to the provider’s limit. Going on in {seconds}"),
        "action.goes_on": _("Goes on at {time}"),
        "action.retry": _("Trying again"),
        "action.switch_model": _("Switching to {model}"),
        "action.switch_model_unnamed": _("Switching to another model"),
        "action.skipped": _("The fallback {model} is not available and is passed over"),
        "action.rotate_credential": _("Trying another key"),
        "action.compress": _("Summarising earlier messages"),
        "action.compress_count": forms(
            lambda n: ngettext("Summarising {count} earlier message", "Summarising {count} earlier messages", n)
        ),
        "action.lower_window": _("Sending less of the conversation"),
        "action.lower_output_limit": _("Asking for a shorter answer"),
        "action.raise_output_limit": _("Giving the answer more room"),
        "action.lower_effort": _("Asking for less thinking"),
        "action.drop_parameter": _("Trying without the setting"),
        "action.rename_parameter": _("Trying the setting’s other name"),
        "action.disable_streaming": _("Asking for the answer in one piece"),
        "action.strip_thinking": _("Trying without the earlier reasoning"),
        "action.repair_history": _("Repairing the conversation for the model"),
        "action.continue": _("Continuing where it stopped"),
        "action.restart": _("Starting the answer again"),
        "action.queue": _("The queue is not reachable. Your message is stored and starts as soon as it is back"),
    }


def _endings() -> Strings:
    """Why a run ended as it did, and what is known beside that."""
    return {
        **{f"cause.{kind}": sentences.cause(kind) for kind in ErrorKind},
        "cause.message_alone": str(sentences.MESSAGE_ALONE),
        "cause.only_thought": str(sentences.ONLY_THOUGHT),
        "cause.only_thought_and_stopped": str(sentences.ONLY_THOUGHT_AND_STOPPED),
        "cause.agent_gone": str(sentences.AGENT_GONE),
        "cause.joined": str(sentences.JOINED),
        "more.window": str(sentences.WINDOW),
        "more.output_limit": str(sentences.OUTPUT_LIMIT),
        "more.resets": str(sentences.RESETS),
        "answer.summarised": forms(summarised),
    }


def _refusals() -> Strings:
    """Why a message was not sent, where the page knows it by itself; else the server says it."""
    return {
        "refused.message_empty": _("Write a message first."),
        "refused.message_too_long": _("This message has {length} characters; at most {limit} can be sent."),
        "refused.conversation_busy": _("An answer is still being written. Wait for it, or stop it."),
        "refused.network": _("The server cannot be reached. Your message is kept."),
        "refused.other": _("That did not work. Try again."),
    }


def _sidebar() -> Strings:
    return {
        "list.today": _("Today"),
        "list.yesterday": _("Yesterday"),
        "list.week": _("Previous 7 days"),
        "list.options": _("Options for “{title}”"),
        "list.untitled": _("New chat"),
        "delete.question": _("“{title}” and all of its messages will be deleted. This cannot be undone."),
        "length": _("{length} of {limit} characters"),
    }
