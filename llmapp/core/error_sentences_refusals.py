"""Sentences that hold behind any status, second part: what is refused, who is refused, and who is too busy.

From special to general; the rules are in `error_sentences`.
"""

from __future__ import annotations

from .errors import ErrorKind as K

REFUSAL_PHRASES: tuple[tuple[K, str], ...] = (
    (
        K.UNSUPPORTED_PARAMETER,
        r"""
        unsupported (?:parameter|value|param|field|argument|[a-z]+_[a-z_]+)
        (?:un(?:known|recognized|expected|supported)|extra) (?:request )?(?:argument|param|field|keyword|inputs?\b)
        extra inputs are not permitted
        unknown name .{1,160}cannot find field | tools? cannot be used with
        (?:is|are) not (?:supported|allowed|permitted) (?:with|for|by|on|in) th(?:is|e|at) (?:model|endpoint|server)
        (?:is|are) not (?:supported|allowed|permitted) (?:with|for|by|on|in) th(?:is|e|at) (?:deployment|version)
        only \S{1,20} is allowed for this model
        (?:is|are) not available (?:with|for|by|on|when|in) this (?:model|endpoint)
        (?:argument|parameter|field|type) (?:is )?(?:not supported|unavailable)
        does(?: not|n.t) support (?:\S+ ){0,3}(?:tools?|function|param|stream|temperature|top_p|stop|logprobs)
        does(?: not|n.t) support (?:\S+ ){0,3}(?:chat|system)
        does(?: not|n.t) support (?:\S+ ){0,2}(?:image|vision|response_format|json|reasoning|thinking|audio|video|field)
        (?:image|vision|audio|video|multimodal)(?: inputs?)? (?:is|are) not supported
        not a multimodal model
        \bmmproj\b | not (?:compiled|configured|built) (?:for|with) (?:multimodal|vision)
        unsupported content (?:part )?type
        only supports? (?:stream|the|[a-z]+_[a-z_]+)
        (?:param|field|property|argument).{0,60}(?:is|are) (?:not (?:supported|allowed|permitted|recog)|unsupported)
        (?:param|field|property|argument).{0,60}(?:is|are) (?:deprecated|unknown)
        \b(?:temperature|top_p|top_k|seed|logprobs|(?:presence|frequency)_penalty|stop)\b.{0,40}(?:support|allowed|default)
        \b(?:temperature|top_p)\b.{0,40}(?:cannot both|may only be set)
        \b(?:tools?|tool_choice|parallel_tool_calls|stream_options)\b.{0,40}(?:not (?:support|allowed)|unsupported)
        \b(?:max_tokens|response_format|json_schema|json mode)\b.{0,40}(?:not (?:support|allowed)|unsupported)
        \b(?:reasoning_effort|thinking|system role|developer)\b.{0,40}(?:not (?:support|allowed)|unsupported|no longer)
        (?:response_format|enable_thinking|thinking).{0,30}(?:is unavailable|must be set to|may not be enabled|only)
        support (?:tool use|image input)
        (?:function|tool) calling is not
        (?:mandatory|required) for this endpoint and cannot be disabled
        use .max_completion_tokens
        tools?.{0,30}(?:not supported|requires? --jinja)
        requires .{0,40}--enable-auto-tool-choice
        developer instruction is not enabled
        system role not supported
        不支持.{0,12}(?:参数|字段|工具|函数|流式|图片|该参数) | 参数.{0,20}不支持 | 不能同时设置
        """,
    ),
    (
        K.AUTH,
        r"""
        (?:invalid|incorrect|wrong|missing|expired|revoked|malformed|no) (?:\w+ ){0,3}(?:api[ -]?key|token\b|credential)
        (?:invalid|incorrect|missing) (?:\w+ ){0,3}auth[ _-]?key
        (?:invalid|incorrect|wrong|missing|malformed|no) (?:\w+ ){0,3}(?:bearer|x-api-key|authentication|authorization)
        api[ _-]?key .{0,40}(?:not (?:valid|found|provided|set|configured)|invalid|expired|incorrect|missing)
        api[ _-]?key .{0,40}(?:required|revoked|disabled)
        api[ -]?key .{0,40}(?:leaked|suspended)
        (?:token|key).{0,40}(?:is (?:invalid|expired|incorrect)|has expired|not valid(?! json))
        token has (?:been (?:revoked|invalidated)|already been used) | deactivated account
        (?:sign|log)(?:ing)? in again
        (?:token|signature) expired | \bsession\b.{0,40}\bexpired
        authentication (?:fail|error|is required|required|token|credentials)
        unauthori[sz]ed
        not authenticated
        unregistered callers
        unable to locate credentials
        illegal header value
        log ?in fail
        user not found
        could not resolve authentication
        security token.{0,40}(?:invalid|expired)
        didn.t provide an api key
        unrecognizedclient
        no auth credentials
        valid (?:\w+ ){0,2}(?:token|key|credentials?) is required
        no cookie auth
        login (?:required|expired)
        please (?:log|sign) ?in
        account (?:has been )?deactivated
        无效的?(?:令牌|密钥|api|token|key)
        (?:令牌|密钥|api[ -]?key|token|key).{0,12}(?:无效|错误|过期|失效|不正确|不存在|非法)
        (?:身份|鉴权|认证|授权|身份验证).{0,8}(?:失败|错误|过期) | 未提供令牌 | 令牌已 | 令牌状态不可用
        """,
    ),
    (
        K.PERMISSION,
        r"""
        (?:未|暂未|没有|尚未)(?:开放|开通).{0,20}权限
        账[户号].{0,4}(?:锁定|冻结|封禁)
        not (?:yet )?(?:available|included|enabled) (?:for|in|with|on) (?:this|your) (?:subscription|plan|account|tier)
        restricted to authorized
        requires terms acceptance
        to (?:use|access|unlock) .{0,60}, (?:please )?upgrade (?:to|your)
        error code: 10(?:0[6-9]|1[0-3]|20)\b
        only authorized for use with
        only available (?:for|to|through|in) (?:\w+ ){0,3}(?:agents?|customers?|organi[sz]ations?)
        only available (?:for|to|through|in) (?:\w+ ){0,3}(?:enterprise|subscribers)
        fair usage policy
        (?:data policy|guardrail restrictions)
        location is not supported
        (?:country|region|territory).{0,40}(?:not supported|restricted|unsupported)
        not (?:available|supported) in your (?:region|country)
        use case details have not been submitted
        not authorized to
        """,
    ),
    (
        K.MODEL_NOT_FOUND,
        r"""
        (?<![a-z])(?:model|deployment|engine)\b.{0,100}(?:not found|not exist|doesn.t exist|no longer available)
        (?<![a-z])(?:model|deployment|engine).{0,100}(?:decommissioned|deactivated|deprecated and|retired)
        (?<![a-z])(?:model|deployment|engine).{0,100}has been (?:removed|shut|deprecated|retired)
        (?<![a-z])(?:model|deployment)\b.{0,60}(?:was removed|end of (?:its )?life)
        (?<![a-z])(?:model|deployment).{0,80}is not (?:available|(?:a )?valid|supported|served|deployed)
        (?<![a-z])(?:model|deployment).{0,80}is not (?:loaded|accessible|found|running)
        (?<![a-z])(?:model|deployment)[^\[\]{}]{0,80}(?:not supported|(?<!service )(?<!['\"])unavailable(?! param))
        not found.{0,20}model
        not found the model
        (?:invalid|unknown|unsupported|no such|nonexistent|incorrect|non-serverless) model
        model (?:identifier|name|id)? ?(?:is )?(?:invalid|incorrect)
        model identifier is invalid
        model (?:is |was |has been )?unloaded
        not a valid model
        no (?:endpoints|(?:allowed )?providers?|channels?|instances?) (?:found|(?:are )?available|for|with)\b
        try pulling it | unknown provider for model | does not work with the (?:specified|selected) model
        no models? loaded
        no available (?:channel|distributor|model provider)
        does not have access to model
        could not resolve the foundation model
        targeted an endpoint that does not exist
        not accessible via the \S+ endpoint
        on-demand throughput isn.t supported
        模型.{0,60}(?:不存在|未找到|不可用|已下线|不支持|无可用渠道) | 无可用渠道 | 没有可用的?渠道 | 无效的?模型
        未找到.{0,10}模型 | 不存在.{0,6}模型 | 无权.{0,10}模型 | 不支持所选模型 | 价格未配置
        """,
    ),
    (
        K.PAYLOAD_TOO_LARGE,
        r"""
        (?:request|payload|body|file|image|attachment|content).{0,80}(?:too (?:large|big)|exceed max)
        (?:payload|body|file|image|attachment|size)\b(?:(?!rate|token).){0,80}exceeds?.{0,40}(?:\d|size|maximum|limit)
        (?:request|content)\b(?:(?!rate|token).){0,80}exceeds?.{0,40}(?:\d|size|maximum)
        exceeds? the maximum size
        too many images
        at most \d+ images?
        entity too large
        maximum (?:request|payload|body|content) (?:body )?(?:size|length)
        (?:请求体|文件|图片).{0,10}(?:过大|太大|超过)
        """,
    ),
    (
        K.SERVER_ERROR,  # of a server that is ours: whatever status it chose, the request was not at fault
        r"""
        (?:failed|unable) to load (?:the )?model
        (?:error|exception) loading (?:the )?model
        model has crashed | degraded \w{1,20} (?:cannot|can.t) be invoked
        runner (?:process )?(?:has )?(?:unexpectedly|terminated|no longer)
        """,
    ),
    (
        K.OVERLOADED,
        r"""
        over-?load
        (?:at|over|exceed\w*|reached|insufficient|no (?:available|spare)?) ?(?:max(?:imum)? )?capacity
        capacity exceeded
        high (?:volume of )?(?:demand|load|traffic)
        (?:servers?|service|system|model|engine) (?:is|are) (?:(?:currently|temporarily|too) ){0,2}(?:busy|unavailable)
        (?:servers?|service|system|model|engine) is (?:not|getting) ready
        (?:server|system|cluster|model|service) ?(?:too )?busy
        temporarily unavailable
        (?:model|still|currently|is) (?:\S+ ){0,3}loading
        ^\W*loading\W*$
        \bloading model
        no healthy upstream
        warming up
        scaling up
        queue is full
        pending requests exceeded
        unable to process your request
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
        exceeded.{0,40}(?:quota|limit|current requests)
        reduce (?:the|your) (?:request )?(?:rate|frequency)
        resource.{0,12}exhausted
        \b(?:tpm|rpm|rpd|tpd|qps)\b
        (?:concurrency|concurrent).{0,30}(?:limit|exceed|reach)
        no deployments available
        max(?:imum)? concurrency
        exceeded your \w+ token usage
        error code: 1015\b
        速率限制 | 限流 | 请求(?:过于|太)?频繁 | 频率 | 并发.{0,12}(?:超|过高|限|上限)
        请求数?.{0,8}(?:过多|限制|上限) | 稍后(?:再试|重试).{0,6}频 | 触发.{0,6}限
        """,
    ),
)
