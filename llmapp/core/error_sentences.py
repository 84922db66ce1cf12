"""What providers' sentences mean: the second table of `classify`.

One phrase a line, in lower case, English first and then Chinese; ` | ` stands between several on one line.
A phrase is a regular expression. No phrase may backtrack over long texts: its gaps are bounded.
"""

from __future__ import annotations

import re

from .errors import ErrorKind as K


def _rows(*rows: tuple[K, str]) -> tuple[tuple[K, re.Pattern[str]], ...]:
    return tuple((kind, re.compile("|".join(_phrases(text)))) for kind, text in rows)


def _phrases(text: str) -> list[str]:
    return [phrase.strip() for line in text.splitlines() for phrase in line.split(" | ") if phrase.strip()]


#: From special to general: the first row that fits wins.
SENTENCES = _rows(
    (
        K.CANCELLED,
        r"""
        client (?:has )?disconnected
        request was (?:cancel|abort)\w*
        client closed request
        """,
    ),
    (
        K.THINKING_SIGNATURE,
        r"""
        signature.{0,40}thinking
        thinking.{0,60}signature
        thought_signature
        encrypted[ _]content.{0,60}verif
        thinking.{0,20}blocks?.{0,60}(?:cannot be modified|must (?:remain|be)|expected)
        expected .?thinking
        type .reasoning. was provided without
        reasoning_content.{0,60}(?:must|missing|required)
        must (?:start|begin) with a thinking
        """,
    ),
    (
        K.CONTENT_POLICY,
        r"""
        content[ _]?(?:policy|filter|management)
        responsible ai
        flagged
        usage polic(?:y|ies)
        moderation
        (?:response|prompt|content|output|input|request) (?:was|were|has been|is) (?:blocked|filtered|rejected by)
        safety (?:system|measure|setting|filter|polic|reason)
        violat\w+.{0,40}(?:polic|guideline|terms)
        prohibited (?:content|use)
        new_sensitive
        output_sensitive
        inappropriate content
        guardrail intervened
        data inspection
        content exists risk
        敏感 | 违规 | 不安全 | 内容安全 | 安全审核 | 内容审查 | 审核(?:不通过|未通过|失败) | 风控
        违反.{0,20}(?:政策|规定|法)
        """,
    ),
    (
        K.BILLING,
        r"""
        credit balance
        (?:insufficient|low|no|not enough|negative|out of|available) (?:\w+ )?(?:balance|credits?|funds)
        balance.{0,30}(?:too low|insufficient|not enough|exhaust|negative|is 0\b)
        requires? more credits
        add (?:more )?credits
        purchase (?:more )?credits
        spending[ -](?:limit|cap)
        billing (?:is not|not|account|hard|has not|must|to be enabled)
        payment (?:required|method|overdue|failed|is required)
        past due
        out of (?:extra usage|credits?|funds)
        extra usage is required
        free tier\b.{0,60}upgrade
        never purchased credits
        account is not active
        subscription (?:expired|has expired)
        (?:used|exhausted) (?:up )?(?:all )?(?:your|of your)? ?.{0,20}credits
        requires (?:a )?(?:paid|subscription)
        余额不足 | 欠费 | 充值 | 账户余额 | 没有可用的?资源包 | 无可用资源包 | 欠款 | 额度不足(?!.{0,20}重置)
        """,
    ),
    (
        K.QUOTA_EXHAUSTED,
        r"""
        (?:daily|weekly|monthly|hourly|per[- ]day|5[- ]hour|session) (?:\w+ ){0,2}(?:limit|quota|usage|cap|allowance)
        (?:limit|quota|cap) (?:for (?:today|this (?:week|month)))
        usage limits?
        exceeded.{0,30}budget
        budget.{0,20}exceeded
        quota.{0,40}(?:exhausted|reached|used up|depleted|insufficient|not enough)
        perday
        per_day
        regain access on
        (?:insufficient|no|out of|not enough) quota
        配额(?:已)?(?:用尽|耗尽|不足|超限) | 额度(?:已)?(?:用尽|耗尽|用完|不足|已用) | 使用上限
        每[日天周月].{0,10}(?:限|额|上限) | 次数.{0,8}(?:用完|用尽|上限) | 今日.{0,12}(?:上限|用完|用尽)
        """,
    ),
    (
        K.RATE_LIMIT,
        r"""
        throttl\w*.{0,40}too many tokens
        too many tokens.{0,30}(?:wait|per (?:min|day|hour)|rate)
        """,
    ),
    (
        K.INVALID_REQUEST,  # an output limit that the model does not have is no overflow
        r"""
        max_(?:completion_|output_)?tokens[`'"]?:? \d+ > \d
        max_(?:completion_|output_)?tokens[`'"]? is too large
        """,
    ),
    (
        K.CONTEXT_OVERFLOW,
        r"""
        context[ _-]?(?:length|window|size|limit).{0,60}(?:exceed|of only|\d|too|reach|overflow|larger|insufficient)
        (?:exceed|(?:longer|larger|greater) than|over|beyond|above).{0,60}context[ _-]?(?:length|window|size|limit)
        maximum context
        prompt is too long
        (?:input|prompt|message|messages|conversation|text|request) (?:is|are|was) too (?:long|large for)
        too (?:many|much) (?:input |prompt )?tokens(?! per)
        token count.{0,40}exceeds
        tokens?.{0,40}(?:exceeds?|more than|greater than|larger than|>).{0,60}(?:tokens|maximum|limit|allowed|\d)
        input length.{0,40}exceed
        exceeds? the (?:maximum )?number of (?:input )?tokens
        exceeds? the (?:maximum )?(?:allowed )?(?:input|prompt|token) (?:length|limit|count)
        request too large for.{0,120}tokens per min
        max size: \d+ tokens
        tokens.{0,40}must be <=
        (?:reduce|shorten) (?:the length of )?(?:the|your) (?:messages|prompt|input)
        max_seq_len
        range of input length
        max[ _]input[ _](?:tokens|length)
        tokens to keep from the initial prompt
        keep the first \d+ tokens
        上下文.{0,20}(?:超|过长|长度|限制|窗口)
        (?:输入|提示|内容|文本|对话|prompt|请求).{0,12}(?:超长|过长|太长|超出.{0,8}(?:长度|限制|token))
        token.{0,16}(?:超出|超过|超限)
        (?:超出|超过).{0,16}(?:最大(?:长度|token|上下文|输入)|上下文|长度限制|token)
        """,
    ),
    (
        K.UNSUPPORTED_PARAMETER,
        r"""
        unsupported (?:parameter|value|param|field|argument)
        (?:un(?:known|recognized|expected|supported)|extra) (?:request )?(?:argument|param|field|keyword|inputs?\b)
        extra inputs are not permitted
        (?:is|are) not (?:supported|allowed|permitted) (?:with|for|by|on|in) th(?:is|e|at) (?:model|endpoint)
        (?:is|are) not (?:supported|allowed|permitted) (?:with|for|by|on|in) th(?:is|e|at) (?:deployment|version)
        (?:is|are) not available (?:with|for|by|on|when|in) this (?:model|endpoint)
        does not support (?:\w+ ){0,2}(?:tool|function|param|stream|temperature|top_p|stop|logprobs|chat|system)
        does not support (?:\w+ ){0,2}(?:image|vision|response_format|json|reasoning|thinking)
        (?:param|field|property|argument).{0,60}(?:is|are) (?:not (?:supported|allowed|permitted|recog)|unsupported)
        (?:param|field|property|argument).{0,60}(?:is|are) (?:deprecated|unknown)
        \b(?:temperature|top_p|top_k|seed|logprobs|(?:presence|frequency)_penalty|stop)\b.{0,40}(?:support|allowed|default)
        \b(?:tools?|tool_choice|parallel_tool_calls|stream_options)\b.{0,40}(?:not (?:support|allowed)|unsupported)
        \b(?:max_tokens|response_format|json_schema|json mode)\b.{0,40}(?:not (?:support|allowed)|unsupported)
        \b(?:reasoning_effort|thinking|system role|developer)\b.{0,40}(?:not (?:support|allowed)|unsupported|no longer)
        support tool use
        (?:mandatory|required) for this endpoint and cannot be disabled
        use .max_completion_tokens
        tools?.{0,30}not supported
        requires .{0,40}--enable-auto-tool-choice
        developer instruction is not enabled
        system role not supported
        不支持.{0,12}(?:参数|字段|工具|函数|流式|图片) | 参数.{0,20}不支持
        """,
    ),
    (
        K.AUTH,
        r"""
        (?:invalid|incorrect|wrong|missing|expired|revoked|malformed|no) (?:\w+ ){0,3}(?:api[ -]?key|token\b|credential)
        (?:invalid|incorrect|wrong|missing|malformed|no) (?:\w+ ){0,3}(?:bearer|x-api-key|authentication|authorization)
        api[ -]?key .{0,40}(?:not (?:valid|found|provided)|invalid|expired|incorrect|missing|required|revoked|disabled)
        api[ -]?key .{0,40}(?:leaked|suspended)
        (?:token|key).{0,40}(?:is (?:invalid|expired|incorrect)|has expired|not valid|is not valid)
        authentication (?:fail|error|is required|required|token)
        unauthori[sz]ed
        not authenticated
        log ?in fail
        user not found
        could not resolve authentication
        security token.{0,40}(?:invalid|expired)
        didn.t provide an api key
        unrecognizedclient
        no auth credentials
        no cookie auth
        login (?:required|expired)
        please (?:log|sign) ?in
        account (?:has been )?deactivated
        无效的?(?:令牌|密钥|api|token|key)
        (?:令牌|密钥|api[ -]?key|token|key).{0,12}(?:无效|错误|过期|失效|不正确|不存在)
        (?:身份|鉴权|认证|授权|身份验证).{0,8}(?:失败|错误|过期) | 未提供令牌 | 令牌已
        """,
    ),
    (
        K.MODEL_NOT_FOUND,
        r"""
        (?:model|deployment|engine).{0,100}(?:not found|does not exist|doesn.t exist|not exist|no longer available)
        (?:model|deployment|engine).{0,100}(?:decommissioned|deprecated and|has been (?:removed|retired|shut)|retired)
        (?:model|deployment).{0,80}(?:is not (?:available|valid|supported|served|deployed|loaded|a valid|accessible))
        (?:model|deployment).{0,80}(?:not supported|unavailable)
        not found.{0,20}model
        not found the model
        (?:invalid|unknown|unsupported|no such|nonexistent|incorrect) model
        model (?:identifier|name|id)? ?(?:is )?(?:invalid|incorrect)
        model identifier is invalid
        not a valid model
        no (?:endpoints|providers?|channels?|instances?) (?:found|available)? ?(?:for|with)?.{0,60}\b(?:model)?
        try pulling it
        no models? loaded
        no available (?:channel|distributor)
        does not have access to model
        on-demand throughput isn.t supported
        模型.{0,60}(?:不存在|未找到|不可用|已下线|不支持|无可用渠道) | 无可用渠道 | 没有可用的?渠道 | 无效的?模型
        未找到.{0,10}模型 | 不存在.{0,6}模型 | 无权.{0,10}模型
        """,
    ),
    (
        K.PAYLOAD_TOO_LARGE,
        r"""
        (?:request|payload|body|file|image|attachment|content).{0,80}(?:too (?:large|big)|exceed max)
        (?:request|payload|body|file|image|attachment|content).{0,80}exceeds?.{0,40}(?:\d|size|maximum|limit)
        exceeds? the maximum size
        too many images
        entity too large
        maximum (?:request|payload|body|content) (?:body )?(?:size|length)
        (?:请求体|文件|图片).{0,10}(?:过大|太大|超过)
        """,
    ),
    (
        K.OVERLOADED,
        r"""
        over-?load
        (?:at|over|exceed\w*|reached|insufficient|no (?:available|spare)?) ?(?:max(?:imum)? )?capacity
        high (?:demand|load|traffic)
        (?:servers?|service|system|model|engine) (?:is|are) (?:(?:currently|temporarily|too) ){0,2}(?:busy|unavailable)
        (?:servers?|service|system|model|engine) is (?:not|getting) ready
        (?:server|system|cluster) ?busy
        temporarily unavailable
        (?:model|still|currently|is) (?:\S+ ){0,3}loading
        ^\W*loading\W*$
        no healthy upstream
        warming up
        scaling up
        queue is full
        try again when
        过载 | 负载.{0,6}(?:饱和|过高|较高|上限) | 繁忙 | 拥挤 | 服务暂不可用 | 服务器忙 | 系统忙 | 访问量过大
        排队
        """,
    ),
    (
        K.RATE_LIMIT,
        r"""
        rate[ _-]?limit
        too many (?:requests|concurrent|connections|calls)
        (?:request|requests|calls|tokens) (?:\w+ )?(?:per|/) ?(?:min|sec|hour|day)
        (?:request|token|call|concurrency|concurrent)\w* (?:rate |request |requests )?(?:limit|increased)
        throttl
        slow down
        quota exceeded
        exceeded.{0,40}(?:quota|limit)
        reduce (?:the|your) (?:request )?(?:rate|frequency)
        resource.{0,12}exhausted
        \b(?:tpm|rpm|rpd|tpd|qps)\b
        (?:concurrency|concurrent).{0,30}(?:limit|exceed|reach)
        速率限制 | 限流 | 请求(?:过于|太)?频繁 | 频率 | 并发.{0,12}(?:超|过高|限|上限)
        请求数?.{0,8}(?:过多|限制|上限) | 稍后(?:再试|重试).{0,6}频 | 触发.{0,6}限
        """,
    ),
    (
        K.PERMISSION,
        r"""
        permission
        (?:do|does) not have (?:access|an active|permission|the required)
        don.t have access
        not (?:authorized|allowed|entitled|permitted)\b
        access (?:is |was )?(?:denied|forbidden|restricted)
        forbidden
        data policy
        (?:country|region|territory|location).{0,40}(?:not supported|restricted|unsupported)
        is not supported for the api use
        not enabled (?:for|in) (?:this|your|the)
        must be verified
        organization (?:has been|must)
        has been (?:disabled|suspended|banned|blocked)
        ip .{0,40}(?:not allowed|blocked|whitelist)
        无权 | 没有权限 | 权限 | 禁止访问 | 拒绝访问 | 封禁 | 禁用
        """,
    ),
    (
        K.TIMEOUT,
        r"""
        timed?[ -]?out
        deadline
        unresponsive
        took too long
        no response received
        inactivity
        超时
        """,
    ),
    (
        K.STREAM_INTERRUPTED,
        r"""
        incomplete (?:chunked )?(?:read|message|body|response)
        (?:stream|connection|response|peer).{0,40}(?:ended|closed|dropped|terminated|disconnected).{0,60}(?:before|without)
        (?:stream|connection|response|peer).{0,40}(?:ended|closed|dropped|terminated|stopped).{0,60}(?:with no|while)
        (?:stream|connection|response|peer).{0,40}(?:closed|terminated|interrupted|broke|cut).{0,60}(?:unexpected|mid|early|prematurely)
        empty stream
        premature (?:close|end)
        unexpected (?:eof|end of)
        stream (?:error|was reset|reset|interrupted|disconnected|closed|idle)
        payload is not completed
        response ended prematurely
        mid-?stream
        not enough data (?:for|to)
        err_incomplete_chunked
        """,
    ),
    (
        K.CONNECTION,
        r"""
        connection (?:refused|reset|error|aborted|attempts? failed|failed|closed|lost|terminated|was)
        econn
        enotfound
        eai_again
        etimedout
        epipe
        broken pipe
        getaddrinfo
        name (?:or service not known|resolution)
        (?:cannot|can.t|could not|couldn.t|failed to|unable to) (?:connect|reach|establish|resolve)
        server disconnected
        network (?:is )?(?:error|unreachable|failure)
        no route to host
        dns
        ssl
        tls
        certificate
        fetch failed
        socket hang up
        bad gateway
        upstream connect
        连接.{0,10}(?:失败|错误|被拒|重置|断开) | 网络.{0,6}(?:错误|异常)
        """,
    ),
    (
        K.OUTPUT_TRUNCATED,
        r"""
        (?:output|response|completion|answer) (?:was |is )?truncated
        (?:reached|hit|exceeded) (?:the )?(?:max(?:imum)? )?(?:output|completion) (?:tokens? |token )?limit
        max_tokens.{0,20}(?:reached|was reached|limit was)
        finish_reason:? .?length
        """,
    ),
    (
        K.INVALID_RESPONSE,
        r"""
        (?:not (?:valid )?|invalid |malformed |unparsable |unexpected )json
        expecting value
        <!doctype html
        <html
        malformed (?:response|function|chunk)
        failed to parse
        empty (?:response|completion|answer|message|reply)
        (?:no|missing) (?:choices|candidates|content in)
        unexpected (?:response|content|token)
        failed to call a function
        did not match schema
        空响应 | 返回为空 | 解析.{0,6}(?:失败|错误)
        """,
    ),
    (
        K.INVALID_REQUEST,
        r"""
        invalid (?:request|argument|parameter|value|input|type|body|schema|role|format)
        validation
        bad request
        must (?:be|have|contain|follow|match|start|end|alternate)\b
        is required
        cannot be (?:empty|blank|null)
        missing (?:required|field)
        malformed
        (?:参数|请求).{0,10}(?:错误|无效|有误|不合法|非法|缺少) | 不能为空 | 格式错误
        """,
    ),
    (
        K.SERVER_ERROR,
        r"""
        internal (?:server )?error
        server (?:had an )?error
        unexpected error
        something went wrong
        unknown error
        upstream
        backend error
        内部错误 | 服务器错误 | 系统错误 | 系统异常 | 未知错误 | 服务异常
        """,
    ),
)
