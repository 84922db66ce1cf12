"""Numbers that providers use as codes. The same number means something else with each, so the shape of the body
tells whose it is:

* `{"error": {"code": "1302"}}`, four digits as a text: Zhipu's.
* `{"base_resp": {"status_code": 1008}}`, and "... (2013)" at the end of a sentence: MiniMax's.
* `{"error_code": 17, "error_msg": ...}`: Baidu's.
* `{"code": 20012, "message": ...}`, five digits: SiliconFlow's, and from 10000 to 11999 iFlytek's.

Zhipu's, SiliconFlow's and iFlytek's are found in a text too, where somebody printed the body.

They count as much as a usual word: more than a status, less than a special sentence.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from .errors import ErrorKind as K

ZHIPU = {
    **dict.fromkeys((1000, 1001, 1002, 1003, 1004, 1100), K.AUTH),
    **dict.fromkeys((1110, 1111, 1112, 1120, 1121, 1220, 1311, 1313), K.PERMISSION),
    **dict.fromkeys((1113, 1309), K.BILLING),
    **dict.fromkeys((1210, 1213, 1214, 1215), K.INVALID_REQUEST),
    **dict.fromkeys((1211, 1221, 1222), K.MODEL_NOT_FOUND),
    **dict.fromkeys((1304, 1308, 1310), K.QUOTA_EXHAUSTED),
    **dict.fromkeys((1302, 1303), K.RATE_LIMIT),
    **dict.fromkeys((1305, 1312), K.OVERLOADED),
    **dict.fromkeys((1230, 1234), K.SERVER_ERROR),
    1212: K.UNSUPPORTED_PARAMETER,
    1261: K.CONTEXT_OVERFLOW,
    1301: K.CONTENT_POLICY,
}
MINIMAX = {
    **dict.fromkeys((1000, 1013, 1024, 1033), K.SERVER_ERROR),
    **dict.fromkeys((1004, 2049), K.AUTH),
    **dict.fromkeys((1002, 1039, 1041, 2045), K.RATE_LIMIT),
    **dict.fromkeys((1026, 1027), K.CONTENT_POLICY),
    **dict.fromkeys((2042, 2061), K.PERMISSION),
    **dict.fromkeys((1042, 2013), K.INVALID_REQUEST),
    1001: K.TIMEOUT,
    1008: K.BILLING,
    2056: K.QUOTA_EXHAUSTED,
}
BAIDU = {
    **dict.fromkeys((1, 336000), K.SERVER_ERROR),
    **dict.fromkeys((2, 336100), K.OVERLOADED),
    **dict.fromkeys((4, 18, 336501, 336502), K.RATE_LIMIT),
    **dict.fromkeys((6, 336004, 336117), K.PERMISSION),
    **dict.fromkeys((13, 14, 15, 100, 110, 111), K.AUTH),
    **dict.fromkeys((17, 19, 336503), K.QUOTA_EXHAUSTED),
    **dict.fromkeys((3, 336001, 336002, 336003), K.INVALID_REQUEST),
    **dict.fromkeys((336007, 336103), K.CONTEXT_OVERFLOW),
}
SILICONFLOW = {
    **dict.fromkeys((30001, 30011), K.BILLING),
    **dict.fromkeys((50503, 50505, 50508, 50603), K.OVERLOADED),
    20012: K.MODEL_NOT_FOUND,
    20015: K.INVALID_REQUEST,
    30003: K.MODEL_NOT_FOUND,
    50501: K.RATE_LIMIT,
    50507: K.SERVER_ERROR,
}

IFLYTEK = {
    **dict.fromkeys((10005, 10015, 10016, 11200), K.PERMISSION),
    **dict.fromkeys((10013, 10014, 10019), K.CONTENT_POLICY),
    **dict.fromkeys((10006, 10007, 11202, 11203), K.RATE_LIMIT),
    **dict.fromkeys((10008, 10110), K.OVERLOADED),
    **dict.fromkeys((10012, 10222, 10223), K.SERVER_ERROR),
    **dict.fromkeys((10003, 10004, 10163), K.INVALID_REQUEST),
    10907: K.CONTEXT_OVERFLOW,
    11201: K.QUOTA_EXHAUSTED,
}
FIVE_DIGITS = {**SILICONFLOW, **IFLYTEK}

#: A body that somebody printed: `'code': 11200`, `'code': '1302'`.
PRINTED = re.compile(r"""['"]code\\?['"]: ?(?:(\d{5})\b|\\?['"](\d{4})\\?['"])""")
IN_BRACKETS = re.compile(r"\((\d{4})\)\W*$")


def kind_of_code(fields: Sequence[tuple[str, object]], text: str) -> K | None:
    """Return what a provider's own number means, where there is one. `fields` are names and values, flattened."""
    for name, value in fields:
        if kind := _table(name, value).get(_number(value)):
            return kind
    if found := PRINTED.search(text):
        return FIVE_DIGITS.get(int(found[1])) if found[1] else ZHIPU.get(int(found[2]))
    found = IN_BRACKETS.search(text)
    return MINIMAX.get(int(found[1])) if found else None


def _table(name: str, value: object) -> dict[int, K]:
    if name == "code":
        is_zhipus = isinstance(value, str) and len(value) == 4
        return ZHIPU if is_zhipus else FIVE_DIGITS if isinstance(value, int) else {}
    return MINIMAX if name == "status_code" else BAIDU if name == "error_code" else {}


def _number(value: object) -> int:
    if isinstance(value, bool):
        return -1
    if isinstance(value, int):
        return value
    return int(value) if isinstance(value, str) and value.isdecimal() and len(value) < 8 else -1
