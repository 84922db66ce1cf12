"""What a refusal says about the request: which parameter, which limit, whether the history is at fault.

* A parameter is its name as it stands in a request. Of a path ("reasoning.effort") the head counts, for that is what
  can be left out; a path into tools or messages names nothing that can.
* A limit is what the provider states as its own, never what was asked for, and never a limit for a minute or a day.
  What is not sane (`core.learned`) was not stated.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from .error_body import Said
from .error_sentences import HISTORY
from .learned import LARGEST, SMALLEST

_KNOWN = """
    temperature top_p top_k min_p seed stop n logprobs top_logprobs logit_bias presence_penalty frequency_penalty
    repetition_penalty max_tokens max_completion_tokens max_output_tokens max_new_tokens tools tool_choice
    parallel_tool_calls functions function_call response_format stream stream_options reasoning_effort reasoning
    thinking enable_thinking thinking_budget store metadata user service_tier prompt_cache_key prompt_cache_retention
    safety_identifier verbosity modalities prediction web_search_options cache_control include_reasoning
    context_management output_config chat_template_kwargs extra_body
"""
#: Parameters of chat requests that providers refuse.
KNOWN = frozenset(_KNOWN.split())
#: Texts are in lower case here, and some providers quote names in camel case.
CAMEL = {name.replace("_", ""): name for name in KNOWN}
#: Parameters whose names are words of every sentence: only their place makes them names.
COMMON = frozenset({"n", "user", "stop", "store", "functions", "prediction", "metadata", "tools", "stream"})
#: Parts of a request that cannot be left out.
NEEDED = frozenset({"messages", "model", "input", "prompt", "contents", "body", "role", "content", "reasoning_content"})

_NAME = r"[`'\"]?([a-z_][\w.\[\]]{1,60})[`'\"]?"
#: Places where a name is meant as one, whether we know it or not.
NAMED = re.compile(
    rf"(?:parameter|argument|param)s?(?:\(s\))?(?: supplied)?: \[?{_NAME}"
    rf"|(?:parameter|argument|field|property|name) [`'\"]([a-z_][\w.\[\]]{{1,60}})[`'\"]"
    rf"|field: {_NAME}|{_NAME}: extra inputs are not permitted"
    rf"|(?:parameters?|on this model|doesn.t support the):? \[?{_NAME}"
    r"|[`'\"]([a-z_][\w.\[\]]{1,60})[`'\"] (?:is|are) (?:not (?:supported|allowed|permitted)|unsupported|deprecated)"
    r"|^([a-z]+_[a-z_.]{1,60}) (?:is|are) not (?:supported|allowed|permitted)"
)
WORD = re.compile(r"[a-z_][\w.]{1,60}")
#: What sentences call a parameter without its name.
CALLED = (
    (re.compile(r"tool use|(?:function|tool) calling|\btools?\b"), "tools"),
    (re.compile(r"json mode|json_schema|json_object|structured outputs?"), "response_format"),
    (re.compile(r"reasoning effort"), "reasoning_effort"),
)
INSTEAD = re.compile(rf"(?:use|try|replaced (?:by|with)|renamed to|in favou?r of|改用|请使用) ?(?:the )?{_NAME}")

_COUNT = r"(\d[\d,_]{2,11}|\d{1,4}) ?([km]\b)?"
PER_TIME = re.compile(r"per[- _](?:min|sec|hour|day)|/ ?min|\b(?:tpm|tpd|rpm)\b|每(?:分钟|天)")


def _patterns(*patterns: str) -> tuple[re.Pattern[str], ...]:
    names = r"max_(?:completion_|output_|new_)?tokens"
    return tuple(re.compile(pattern.replace("COUNT", _COUNT).replace("NAME", names)) for pattern in patterns)


#: Where a window stands, in the order of trust: after ">" before all, because there the request stands before it.
WINDOWS = _patterns(
    r"> ?COUNT",
    r"COUNT (?:tokens? )?maximum context",
    r"slot context: COUNT",
    r"(?:context|prompt|input|sequence|model|max|token)[ _-]?(?:length|window|size|limit|len)\b[^.\d>\[]{0,40}COUNT",
    r"(?:tokens? (?:limit|allowed)|limit of|limit is|max size:|<=|less than|cannot exceed)[^.\d\[]{0,16}COUNT",
    r"(?:input|prompt)[ _]length should be \[\d+, ?COUNT",
    r"maximum (?:\w+ ){0,3}tokens[^.\d]{0,20}COUNT",
    r"(?:最大|上限|不超过|限制)[^.\d]{0,12}COUNT",
)
OUTPUTS = _patterns(
    r"NAME[`'\"]?:? \d+ ?> ?COUNT",
    r"at most COUNT (?:completion|output) tokens",
    r"range of .?NAME.{0,24}\[\d+, ?COUNT",
    r"NAME.{0,60}(?:<=|less than or equal to|at most) ?[`'\"]?COUNT",
    r"NAME.{0,60}(?:cannot|must not|may not|not) (?:exceed|be (?:greater|larger|more) than) ?[`'\"]?COUNT",
    r"NAME.{0,60}maximum (?:value )?(?:of|is|allowed is) ?COUNT",
    r"NAME.{0,20}(?:不能(?:大于|超过)|上限为?) ?COUNT",
    r"NAME.{0,40}[\[(]\d+, ?COUNT",
    r"maximum tokens you requested exceeds? the model limit of COUNT",
    r"max(?:imum)? (?:number of )?(?:output|completion) tokens(?: limit)?(?: of| is|:)? ?COUNT",
)
#: What follows a number that is the size of the request.
OF_REQUEST = re.compile(r"\)? ?(?:tokens?\)? )?(?:exceed|is (?:longer|larger)|> |\+ )")
#: A provider's code at the end of a sentence: "... exceeds limit (2013)".
TRAILING_CODE = re.compile(r"limit \(\d{4}\)")


#: A role that the model does not have: it goes another way.
ROLE = re.compile(
    r"(?:\brole\b|system (?:role|prompt|message|instruction)|developer instruction).{0,40}"
    r"(?:not (?:support|enabl|allow)|unsupported)|not support.{0,30}\brole\b"
)
#: A value, or two settings together, and not the name as such.
CONDITIONAL = re.compile(
    r"unsupported value|does not support [`'\"\d]|(?:invalid|not a valid|supported) values?\b|cannot both"
    r"|not be (?:used|set|specified|combined) (?:together|with|at the same time)|at the same time|only one of"
    r"|mutually exclusive|when .{1,40} is (?:set|enabled|used)|for this request"
)


def history_is_refused(said: Said) -> bool:
    """Say whether it is the order or the shape of the messages that was refused, or a role of theirs."""
    return HISTORY.search(said.text) is not None or ROLE.search(said.text) is not None


def is_conditional(said: Said) -> bool:
    """Say whether a parameter was refused for its value, or for what stands beside it."""
    # Where only the default is taken, the parameter may as well not be there.
    is_refused = "only the default" in said.text
    return not is_refused and ("unsupported_value" in said.words or CONDITIONAL.search(said.text) is not None)


def refused_parameter(said: Said) -> str | None:
    """Return the name of what was refused, as it stands in a request."""
    for name in _candidates(said):
        head, _, rest = name.strip("[]").replace("[", ".").partition(".")
        head = CAMEL.get(head, head)
        if head not in NEEDED and not (rest and head in ("tools", "functions")):
            return head
    return next((name for pattern, name in CALLED if pattern.search(said.text)), None)


def _candidates(said: Said) -> Iterator[str]:
    if said.parameter and WORD.fullmatch(said.parameter.partition("[")[0].lower()):
        yield said.parameter
    yield from (str(value) for name, value in said.fields if name == "loc" and value in KNOWN)
    text = said.text.replace("parameter.", "parameter ")
    for found in NAMED.finditer(text):
        name = next(name for name in found.groups() if name)
        if "_" in name or _is_known(name) or found[1]:
            yield name
    yield from (word for word in WORD.findall(text) if _is_known(word) and word not in COMMON)


def _is_known(name: str) -> bool:
    head = re.split(r"[.\[]", name)[0]
    return head in KNOWN or head in CAMEL


def replacement(said: Said, parameter: str) -> str | None:
    """Return what the provider wants the parameter to be called instead."""
    for found in INSTEAD.finditer(said.text):
        name = found[1].rstrip(".")
        if name != parameter and (name in KNOWN or "_" in name) and "." not in name and name not in NEEDED:
            return name
    return None


def window(said: Said) -> int | None:
    """Return the context window that was stated, in tokens."""
    for name, value in said.fields:
        if name in ("n_ctx", "max_context_length", "context_length", "max_model_len") and isinstance(value, int):
            return _sane(value)
    if PER_TIME.search(said.text):
        return None
    return _first(WINDOWS, TRAILING_CODE.sub(" ", said.text))


def output_limit(said: Said) -> int | None:
    """Return the longest answer that was stated, in tokens."""
    return _first(OUTPUTS, said.text)


def _first(patterns: tuple[re.Pattern[str], ...], text: str) -> int | None:
    for pattern in patterns:
        for found in pattern.finditer(text):
            if OF_REQUEST.match(text, found.end()):
                continue
            if (count := _sane(_count(found[1], found[2]))) is not None:
                return count
    return None


def _count(digits: str, unit: str | None) -> int:
    times = {"k": 1_000, "m": 1_000_000}.get(unit or "", 1)
    return int(digits.replace(",", "").replace("_", "")) * times


def _sane(count: int) -> int | None:
    return count if not isinstance(count, bool) and SMALLEST <= count <= LARGEST else None
