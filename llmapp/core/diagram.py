"""The life of a run as a picture, drawn from the table: `python -m llmapp.core.diagram`.

Mermaid, which code hosts show as a drawing. `docs/architecture.md` holds a copy; a test compares them.
"""

from __future__ import annotations

from .run_state import ENDS, TRANSITIONS, RunStatus


def draw() -> str:
    """Return the diagram of all transitions."""
    steps = [f"    {before} --> {after}: {trigger}" for (before, trigger), after in TRANSITIONS.items()]
    ends = [f"    {status} --> [*]" for status in RunStatus if status in ENDS]
    return "\n".join(["stateDiagram-v2", f"    [*] --> {RunStatus.QUEUED}: submit", *steps, *ends])


if __name__ == "__main__":
    print(draw())
