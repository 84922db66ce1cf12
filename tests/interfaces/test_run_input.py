"""What we take for a `RunAgentInput` is what AG-UI's own models take for one."""

from __future__ import annotations

from typing import Any

import pydantic
import pytest
from ag_ui.core import RunAgentInput

from llmapp.api import run_input
from llmapp.api.errors import ApiError

HI = {"id": "m", "role": "user", "content": "Hi"}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"state": {"a": 1}, "forwardedProps": [1], "parentRunId": "p"},
        {"tools": [{"name": "t", "description": "d", "parameters": {}}], "context": []},
        {"tools": None, "context": None, "state": None, "parentRunId": None},
        {"context": [{"description": "d", "value": "v"}]},
        {"messages": [{**HI, "content": [{"type": "text", "text": "Hi"}]}]},
        {"messages": [{**HI, "content": None}]},
        {"messages": [{**HI, "content": [{"type": "text"}]}]},
        {"messages": [{**HI, "content": ["Hi"]}]},
        {"messages": [{**HI, "content": 5}]},
        {"messages": [{"id": "r", "role": "reasoning", "content": "hm"}, HI]},
        {"messages": [{"id": 5, "role": "reasoning", "content": "hm"}, HI]},
        {"tools": [{"name": "t"}]},
        {"tools": {"name": "t", "description": "d"}},
        {"tools": ["t"]},
        {"context": [{"description": "d", "value": 5}]},
        {"threadId": 5},
        {"runId": ["r"]},
        {"parentRunId": 5},
    ],
    ids=str,
)
def test_we_refuse_what_the_models_refuse(body: dict[str, Any]) -> None:
    """And nothing else."""
    body = {"threadId": "t", "runId": "r", "messages": [dict(HI)], **body}
    assert _is_taken(body) == _is_valid(body)


def _is_taken(body: dict[str, Any]) -> bool:
    try:
        return run_input.read(body, known=()).text == "Hi"
    except ApiError as refusal:
        if refusal.code != "invalid_field":
            raise
        return False


def _is_valid(body: dict[str, Any]) -> bool:
    try:
        RunAgentInput.model_validate(body)
    except pydantic.ValidationError:
        return False
    return True
