"""The tables. One file a subject; relations point from the later files to the earlier ones."""

from .access import ApiToken
from .agents import AgentSettings, AgentVersion
from .conversations import Conversation, Message
from .coordination import Duty
from .overview import Overview
from .probes import Probe
from .providers import Credential, LanguageModel, Provider
from .runs import Run, RunEvent, Worker
from .usage import Attempt, Call
from .versions import ConfigurationVersion
from .visitors import Visitor

__all__ = [
    "AgentSettings",
    "AgentVersion",
    "ApiToken",
    "Attempt",
    "Call",
    "ConfigurationVersion",
    "Conversation",
    "Credential",
    "Duty",
    "LanguageModel",
    "Message",
    "Overview",
    "Probe",
    "Provider",
    "Run",
    "RunEvent",
    "Visitor",
    "Worker",
]
