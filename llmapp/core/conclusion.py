"""How a run ends whose last answer is over: the provider said so, and may have said that it is not whole.

| what the provider said | with text | without |
|---|---|---|
| stop | completed | broken: `invalid_response` |
| length | broken: `output_truncated` | broken: `output_truncated` |
| content_filter | broken: `content_policy` | broken: `content_policy` |

Broken is `incomplete` where a person has seen text, and `failed` where not. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .errors import ErrorKind
from .run_state import Trigger, when_it_breaks
from .stream import FinishReason

#: What the provider itself calls an answer that is not whole.
NOT_WHOLE = {FinishReason.LENGTH: ErrorKind.OUTPUT_TRUNCATED, FinishReason.CONTENT_FILTER: ErrorKind.CONTENT_POLICY}


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What happens to a run, of which kind its trouble was, and what there is to be said about it."""

    trigger: Trigger
    kind: ErrorKind | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


def conclude(reason: FinishReason, text: str, *, shown: bool, thought: bool) -> Conclusion:
    """Return how a run ends whose last turn said `text` and finished for `reason`.

    `shown` says whether a person has seen text of this run, `thought` whether the model has thought.
    """
    if not text.strip():
        kind = NOT_WHOLE.get(reason, ErrorKind.INVALID_RESPONSE)
        return Conclusion(when_it_breaks(shown), kind, {"reasoning": thought})
    if reason in NOT_WHOLE:
        return Conclusion(when_it_breaks(shown), NOT_WHOLE[reason])
    return Conclusion(Trigger.COMPLETE)
