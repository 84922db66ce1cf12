"""What a provider can do wrong, and what a run makes of it: the table behind `docs/faults.md`.

Each fault is met twice: once, by a provider that is well afterwards, and for ever. `python -m tests.runs.faults` prints
the page.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from llmapp.core.errors import ErrorKind
from llmapp.core.run_state import RunStatus
from llmapp.runs import sentences
from tests.support.provider import HTML

ANSWER = "This is the whole of the answer, with an umlaut ä and a picture 🙂 in it."
BACKENDS = ("openai_compatible", "litellm")

Behaviour = dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """How a run ends: its status and kind, and what was done on the way, one action for each failed attempt."""

    status: str = "completed"
    kind: str = ""
    actions: str = ""
    #: What the sentence is made of, beside the kind.
    facts: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def attempts(self) -> int:
        """Each action but the last word leads to another attempt."""
        done = self.actions.split()
        return len(done) + (0 if done[-1:] == ["GiveUp"] else 1)

    @property
    def sentence(self) -> str:
        return sentences.ending(RunStatus(self.status), ErrorKind(self.kind), self.facts) if self.kind else ""


@dataclass(frozen=True)
class Fault:
    """`once` and `always` hold for both backends; `litellm` replaces what differs there."""

    name: str
    behaviour: Behaviour
    once: Cell
    always: Cell
    timeouts: dict[str, float] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    litellm: dict[str, Cell] = field(default_factory=dict)

    def cell(self, backend: str, when: str) -> Cell:
        known: Cell = getattr(self, when)
        return self.litellm.get(when, known) if backend == "litellm" else known


def error(status: int, message: str, **more: Any) -> Behaviour:
    headers = more.pop("headers", {})
    return {"status": status, "headers": headers, "body": {"error": {"message": message, **more}}}


def chunk(delta: dict[str, Any], finish: str | None = None) -> str:
    return "data: " + json.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}) + "\n\n"


def call(id: str, arguments: str) -> dict[str, Any]:
    return {"index": 0, "id": id, "type": "function", "function": {"name": "look", "arguments": arguments}}


WELL = Cell()
OVERLOADED = {"message": "overloaded", "type": "overloaded_error"}
SAY = {"role": "assistant", "content": ANSWER}


def done(*actions: str) -> Cell:
    return Cell(actions=" ".join(actions))


def failed(kind: str, *actions: str, **facts: Any) -> Cell:
    return Cell("failed", kind, " ".join((*actions, "GiveUp")), facts)


def incomplete(kind: str, *actions: str) -> Cell:
    return Cell("incomplete", kind, " ".join((*actions, "GiveUp")))


WAITS = ("Wait",) * 5

#: In the order of an answer's life: its connection, its head, its body, its end, what it says.
FAULTS: tuple[Fault, ...] = (
    Fault("closes the connection without an answer", {"bytes": ""}, done("Wait"), failed("connection", *WAITS)),
    Fault(
        "answers with bytes that are no HTTP",
        {"bytes": "\x16\x03garbage\r\n\r\n"},
        done("Wait"),
        failed("invalid_response", "Wait"),
    ),
    Fault("never answers", {"silent": True}, done("Wait"), failed("timeout", "Wait", "Wait"), {"first_token": 0.6}),
    Fault(
        "sends its head byte by byte",
        {"slow_head": 0.3},
        done("Wait"),
        failed("timeout", "Wait", "Wait"),
        {"first_token": 0.6},
    ),
    Fault(
        "sends comments for ever",
        {"stall_after": 0, "comments": 0.1},
        done("Wait"),
        failed("timeout", "Wait", "Wait"),
        {"first_token": 0.6},
    ),
    Fault("closes idle connections", {"drop_reused": True}, WELL, WELL),
    Fault("refuses with 400", error(400, "bad request"), failed("invalid_request"), failed("invalid_request")),
    Fault(
        "refuses a parameter",
        error(400, "Unsupported parameter: 'temperature'", param="temperature", code="unsupported_parameter"),
        done("DropParameter"),
        failed("unsupported_parameter", "DropParameter"),
        settings={"temperature": 0.5},
    ),
    Fault(
        "refuses the history",
        error(400, "messages: roles must alternate between user and assistant"),
        done("RepairHistory"),
        failed("invalid_request", "RepairHistory"),
    ),
    Fault(
        "says that the conversation is too long",
        error(400, "This model's maximum context length is 4096 tokens.", code="context_length_exceeded"),
        done("LowerWindow"),
        failed("context_overflow", "LowerWindow", limit=4096),
    ),
    Fault("refuses the key", error(401, "no", code="invalid_api_key"), failed("auth"), failed("auth")),
    Fault("wants to be paid", error(402, "Insufficient credits"), failed("billing"), failed("billing")),
    Fault("forbids it", error(403, "Your country is not supported"), failed("permission"), failed("permission")),
    Fault(
        "does not know the model",
        error(404, "no such model", code="model_not_found"),
        failed("model_not_found"),
        failed("model_not_found"),
    ),
    Fault(
        "finds the request too large",
        error(413, "Request Entity Too Large"),
        done("Compress"),
        failed("payload_too_large", "Compress"),
    ),
    Fault(
        "refuses for its policy",
        error(400, "Your request was rejected by our safety system", code="content_policy_violation"),
        failed("content_policy"),
        failed("content_policy"),
    ),
    Fault(
        "limits the rate",
        error(429, "Too many requests", headers={"retry-after-ms": "50"}),
        done("Wait"),
        failed("rate_limit", *WAITS),
    ),
    Fault(
        "has no quota left",
        error(429, "You exceeded your current quota", code="insufficient_quota"),
        failed("quota_exhausted"),
        failed("quota_exhausted"),
    ),
    Fault("fails with 500", error(500, ""), done("Wait"), failed("server_error", *WAITS)),
    Fault(
        "fails with a page behind 502",
        {"status": 502, "headers": {"content-type": "text/html"}, "body": HTML},
        done("Wait"),
        failed("server_error", *WAITS),
    ),
    Fault("is overloaded", error(503, "overloaded"), done("Wait"), failed("overloaded", *WAITS)),
    Fault(
        "answers with a page",
        {"status": 200, "headers": {"content-type": "text/html"}, "body": HTML},
        done("Wait"),
        failed("invalid_response", "Wait"),
    ),
    Fault(
        "answers with JSON that is no answer",
        {"status": 200, "body": {"ok": True}},
        done("Wait"),
        failed("invalid_response", "Wait"),
    ),
    Fault(
        "sends JSON that cannot be read",
        {"raw": 'data: {"choices": [{"delta": {"cont\n\ndata: [DONE]\n\n'},
        done("Wait"),
        failed("invalid_response", "Wait"),
    ),
    Fault(
        "puts an error into the stream, before the text",
        {"error_after": [0, OVERLOADED]},
        done("Wait"),
        failed("overloaded", *WAITS),
    ),
    Fault(
        "puts an error into the stream, after text",
        {"error_after": [5, OVERLOADED], "anew": True},
        done("Continue"),
        incomplete("overloaded", "Continue", "Continue"),
    ),
    Fault(
        "stalls in mid-stream",
        {"stall_after": 5, "anew": True},
        done("Continue"),
        incomplete("timeout", "Continue", "Continue"),
        {"idle": 0.4},
    ),
    Fault(
        "cuts the stream in mid-chunk",
        {"stop_after": 5, "anew": True, "end": "fin"},
        done("Continue"),
        incomplete("stream_interrupted", "Continue", "Continue"),
    ),
    Fault(
        "cuts the stream with a proper last chunk",
        {"stop_after": 5, "anew": True, "end": "clean"},
        done("Continue"),
        incomplete("stream_interrupted", "Continue", "Continue"),
    ),
    Fault(
        "cuts the stream before any text",
        {"raw": 'data: {"choices":[{"delta":{"role":"assistant"}}]}\n\n'},
        done("Wait"),
        done("Wait", "DisableStreaming"),
    ),
    Fault(
        "resets the connection in mid-stream",
        {"stop_after": 5, "anew": True, "end": "rst"},
        done("Continue"),
        incomplete("stream_interrupted", "Continue", "Continue"),
    ),
    Fault(
        "ends without a finish reason",
        {"finish_reason": None, "done": False},
        done("Continue"),
        incomplete("stream_interrupted", "Continue", "Continue"),
    ),
    Fault(
        "fails after its finish reason",
        {"raw": chunk(SAY, "stop") + 'data: {"error": {"message": "late"}}\n\n'},
        WELL,
        WELL,
    ),
    Fault("cuts its bytes one by one", {"cut_bytes": 1}, WELL, WELL),
    Fault("ends its lines with CR only", {"line_end": "\r"}, WELL, WELL),
    Fault("sends a line of a megabyte", {"raw": ": " + "x" * 1_000_000 + "\n\n" + chunk(SAY, "stop")}, WELL, WELL),
    Fault(
        "sends usage in a chunk without choices",
        {"chunks": [{"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}]},
        WELL,
        WELL,
    ),
    Fault("sends two tool calls on one index", {"tool_calls": [call("c1", "{}"), call("c2", "{}")]}, WELL, WELL),
    Fault(
        "says `tool_calls` on arguments that are cut",
        {"tool_calls": [call("c1", '{"at": "th')], "finish_reason": "tool_calls"},
        done("Restart"),
        incomplete("invalid_response", "Restart"),
    ),
    Fault(
        "only thinks",
        {"answer": "", "reasoning": "Let me see. "},
        done("Wait"),
        failed("invalid_response", "Wait", reasoning=True),
    ),
    Fault(
        "thinks until its limit",
        {"answer": "", "reasoning": "Let me see. ", "finish_reason": "length"},
        failed("output_truncated", reasoning=True),
        failed("output_truncated", reasoning=True),
    ),
    Fault("answers with nothing", {"answer": ""}, done("Wait"), failed("invalid_response", "Wait")),
    Fault(
        "stops at its length limit",
        {"finish_reason": "length"},
        done("Continue"),
        incomplete("output_truncated", "Continue"),
    ),
    Fault(
        "stops for its filter",
        {"finish_reason": "content_filter"},
        incomplete("content_policy"),
        incomplete("content_policy"),
    ),
)


def page() -> Iterator[str]:
    """Give the lines of `docs/faults.md`."""
    yield "# What a provider can do wrong, and how a run ends"
    yield ""
    yield "Made from the table in `tests/runs/faults.py`. `tests/runs/test_faults.py` lets a provider on loopback do"
    yield "each of these, to an agent with one model, one key, six attempts and no fallback, and holds each cell."
    yield "*Once*: the provider is well afterwards. *Always*: it never is. Actions stand in their order; the last"
    yield "column is what the person reads when it always fails."
    for backend in BACKENDS:
        yield from ("", f"## `{backend}`", "")
        yield "| the provider | once: attempts, actions, status | always | what the person reads |"
        yield "|---|---|---|---|"
        for fault in FAULTS:
            once, always = fault.cell(backend, "once"), fault.cell(backend, "always")
            yield f"| {fault.name} | {_cell(once)} | {_cell(always)} | {always.sentence or 'the answer'} |"


def _cell(cell: Cell) -> str:
    kind = f" `{cell.kind}`" if cell.kind else ""
    return f"{cell.attempts}, {_summed_up(cell.actions.split())}, **{cell.status}**{kind}"


def _summed_up(actions: list[str]) -> str:
    runs: list[list[str]] = []
    for action in actions:
        if runs and runs[-1][0] == action:
            runs[-1].append(action)
        else:
            runs.append([action])
    return " ".join(run[0] if len(run) == 1 else f"{run[0]} × {len(run)}" for run in runs) or "none"


if __name__ == "__main__":
    import django

    django.setup()
    print("\n".join(page()))
