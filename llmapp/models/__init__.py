"""The tables. One file a subject; relations point from the later files to the earlier ones."""

from .access import ApiToken
from .agents import AgentSettings, AgentVersion
from .alarms import Alarm, Mailing
from .conversations import Conversation, ConversationSummary, Message
from .coordination import Duty
from .health import Breaker, Observation
from .overview import Overview
from .probes import Probe
from .processes import WebProcess
from .providers import Credential, LanguageModel, Provider
from .runs import Run, RunEvent, Worker
from .usage import Attempt, Call, Turn
from .versions import ConfigurationVersion
from .visitors import Visitor

__all__ = [
    "AgentSettings",
    "AgentVersion",
    "Alarm",
    "ApiToken",
    "Attempt",
    "Breaker",
    "Call",
    "ConfigurationVersion",
    "Conversation",
    "ConversationSummary",
    "Credential",
    "Duty",
    "LanguageModel",
    "Mailing",
    "Message",
    "Observation",
    "Overview",
    "Probe",
    "Provider",
    "Run",
    "RunEvent",
    "Turn",
    "Visitor",
    "WebProcess",
    "Worker",
]
