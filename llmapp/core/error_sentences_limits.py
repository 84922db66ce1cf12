"""Sentences that hold behind any status, first part: stops, policy, money, limits and lengths, the history.

From special to general; the rules are in `error_sentences`.
"""

from __future__ import annotations

from .errors import ErrorKind as K

#: The order or the shape of the messages is refused: something in the history has to be mended.
HISTORY_PHRASES = r"""
    roles? (?:must|should) (?:alternate|be alternating)
    messages?(?:\(s\))? should alternate
    alternate (?:between )?.?user
    tool_use.{0,12}(?:ids?|blocks?).{0,40}(?:without|must be followed|must have)
    tool_result.{0,60}(?:corresponding|preceding|previous|without|must)
    tool_call_ids?\b.{0,60}(?:not found|did not have|without|missing|has no|is not found|no matching|invalid)
    (?:must be followed by|without|insufficient|missing|no) (?:a )?tool (?:messages?|results?|outputs?|responses?)
    role .?tool.? must (?:be|follow)
    no tool (?:call|output) found
    tool (?:id|call id|call result|result)s?\b.{0,60}not (?:found|match|follow)
    (?:function|tool) (?:call|response|calls and responses).{0,60}(?:turn|parts? is equal|same number|immediately after)
    same number of (?:function|tool) calls
    unexpected (?:message )?role
    unexpected .?tool_use_id
    expected last role
    (?:first|last|final) message.{0,40}(?:must|should|cannot|has to)
    (?:conversation|messages?|sequence) must (?:start|begin|end|alternate)
    must end with a user
    (?:successive|consecutive) (?:\w+ ){1,4}messages?
    assistant (?:message |response )?prefill
    (?:2|two) or more assistant messages
    non-?empty content
    (?:text )?content blocks? must (?:be non-?empty|contain)
    content.{0,20}cannot end with trailing whitespace
    (?:message|content|text)s?\b.{0,60}(?:must not|cannot|can.t|may not) be (?:empty|blank|null)
    text field.{0,80}is blank
    each message must have
    all elements in history
    must have either content
    no user query found
    (?:at least one|no) user message
    system message must be (?:at the )?(?:first|beginning)
    invalid function arguments json
    length of messages must be an odd number
    toolconfig field must be defined when using
    messages?.{0,12}(?:参数)?(?:非法|顺序|角色)
    消息.{0,12}(?:不能为空|顺序|角色)
"""

LIMIT_PHRASES: tuple[tuple[K, str], ...] = (
    (
        K.CANCELLED,
        r"""
        client (?:has )?disconnected
        request was (?:cancel|abort)\w*
        client closed request
        aborterror
        user aborted
        context cancell?ed
        """,
    ),
    (
        K.THINKING_SIGNATURE,
        r"""
        signature.{0,40}thinking
        thinking.{0,60}signature
        thought[ _]?signature
        encrypted[ _]content.{0,140}(?:verif|decrypt|parsed)
        thinking.{0,20}blocks?.{0,60}(?:cannot be modified|must (?:remain|be)|expected)
        expected .?thinking
        type .reasoning. was provided without | without its required .?reasoning
        reasoning_content.{0,60}(?:must|missing|required)
        thinking.{0,40}must be passed back
        must (?:start|begin) with a thinking
        """,
    ),
    (
        K.CONTENT_POLICY,
        r"""
        content[ _]?(?:policy|filter|management)
        responsible ai
        flagged
        (?<!fair )usage (?:polic(?:y|ies)|guidelines)
        moderation | (?:request|content|prompt|input|output) (?:was )?moderated
        (?:response|prompt|content|output|input|request) (?:was|were|has been|is) (?:blocked|filtered|rejected by)
        safety (?:system|measure|setting|filter|polic|reason|check)
        considered high risk
        violat\w+.{0,40}(?:polic|guideline|terms)
        prohibited (?:content|use)
        new_sensitive
        output_sensitive
        (?:inappropriate|nsfw) content
        guardrail intervened
        data inspection(?! process)
        content exists risk
        may contain sensitive
        敏感 | 违规 | 不安全 | 内容安全 | 安全审核 | 内容审查 | 审核(?:不通过|未通过|失败) | 风控 | 高风险
        违反.{0,20}(?:政策|规定|法)
        """,
    ),
    (
        K.RATE_LIMIT,  # advice how to pay for more may follow
        r"""
        rate limit (?:reached|exceeded|is exceeded).{0,160}per (?:min|sec)
        """,
    ),
    (
        K.BILLING,
        r"""
        credit balance
        (?:insufficient|low|no|not enough|negative|out of|available|paid) (?:\w+ )?(?:balance|credits?|funds)
        balance.{0,30}(?:too low|insufficient|not enough|exhaust|negative|is 0\b)
        requires? more credits
        prompt tokens limit exceeded
        (?:don.t|doesn.t|do not|does not) have any credits
        credits? (?:are|is|have been|has been) (?:depleted|exhausted|used up)
        credit limit exceeded
        add (?:more )?credits
        purchase (?:more )?credits
        spend(?:ing)?[ -](?:limit|cap)
        billing (?:is not|not|account|hard|has not|must|to be enabled)
        requires billing
        payment (?:required|method|overdue|failed|is required)
        past (?:due|invoices)
        overdue
        in good standing
        out of (?:extra usage|credits?|funds)
        extra usage is required
        free tier\b.{0,60}upgrade
        never purchased credits
        account is not active(?!.{0,40}quota)
        subscription (?:expired|has expired|has lapsed)
        (?:used|exhausted) (?:up )?(?:all )?(?:your|of your)? ?.{0,20}credits
        requires (?:a )?(?:paid|subscription)
        用户.{0,2}额度不足 | 用户剩余额度
        余额不足 | 余额.{0,4}不足 | 欠费 | 充值 | 账户余额 | 没有可用的?资源包 | 无可用资源包 | 欠款
        套餐.{0,6}到期 | 额度不足(?!.{0,20}重置)
        """,
    ),
    (
        K.QUOTA_EXHAUSTED,
        r"""
        (?:daily|weekly|monthly|hourly|per[- ]day|5[- ]hour|session) (?:\w+ ){0,2}(?:limit|quota|usage|cap|allowance)
        daily (?:\w+ ){0,2}allocation
        (?:limit|quota|cap) (?:for (?:today|this (?:week|month)))
        monthly included credits
        per[- ](?:day|week|month)\b.{0,40}(?:limit|exceed|exhaust|wait)
        (?:calls|requests) ?/ ?(?:day|month)
        free-models-per-day
        usage limits?
        (?:hit|reached) your (?:(?:usage|message|trial|request|account|plan|session) ){0,2}limit
        usage quota
        set inference limit
        open api total request limit
        key limit exceeded
        exceeded (?:your )?current quota
        exceeded.{0,30}budget
        budget.{0,20}exceeded
        quota.{0,40}(?:exhausted|reached|used up|depleted|insufficient|not enough)
        exhausted your (?:capacity|quota)
        allocated quota exceeded
        have no quota
        perday
        per_day
        regain access on
        (?:insufficient|no|out of|not enough) quota | no (?:accounts?|keys?) (?:available )?with quota
        配额(?:已)?(?:用尽|耗尽|不足|超限) | 额度(?:已)?(?:用尽|耗尽|用完|不足|已用) | 使用上限 | 调用次数限额
        每[日天周月].{0,10}(?:限|额|上限) | 次数.{0,8}(?:用完|用尽|上限) | 今日.{0,12}(?:上限|用完|用尽|限额)
        """,
    ),
    (
        K.CONTEXT_OVERFLOW,  # a request that no waiting can make small enough for the limit of a minute
        r"""
        request too large for.{0,120}tokens per min
        inputs.? tokens \+ .{0,2}max_new_tokens
        """,
    ),
    (
        K.RATE_LIMIT,
        r"""
        throttl\w*.{0,40}too many tokens
        too many tokens.{0,30}(?:wait|per (?:min|day|hour)|rate)
        (?:tokens|requests|queries|messages) per (?:minute|second|hour)
        per[- ]minute rate
        """,
    ),
    (
        K.INVALID_REQUEST,  # an output limit that the model does not have is no overflow
        r"""
        max_(?:completion_|output_)?tokens[`'"]?:? \d+ > \d
        max_(?:completion_|output_)?tokens > \d+ must
        max_(?:completion_|output_|new_)?tokens[`'"]? (?:is too large|must be (?:less|greater|in|between|<|strictly))
        max_(?:completion_|output_)?tokens.{0,60}(?:cannot|not|must not) (?:be greater|exceed|be larger)
        (?:valid )?range of .?max_(?:completion_|output_)?tokens
        invalid .?max_(?:completion_|output_)?tokens
        supports at most \d+ (?:completion|output) tokens
        maximum tokens you requested exceeds? the model limit
        exceeds? the (?:model.s )?max(?:imum)? (?:number of )?(?:output|completion) tokens
        method not allowed
        max_tokens ?(?:参数)?(?:非法|不能|超过|范围)
        """,
    ),
    (K.INVALID_REQUEST, HISTORY_PHRASES),
    (
        K.CONTEXT_OVERFLOW,
        r"""
        context[ _-]?(?:length|window|size|limit).{0,60}(?:exceed|of only|\d|too|reach|overflow|larger|insufficient)
        (?:exceed|(?:longer|larger|greater) than|over|beyond|above).{0,60}context[ _-]?(?:length|window|size|limit)
        maximum context
        context overflow
        prompt is too long
        (?:input|prompt|message|messages|conversation|text|request) (?:is|are|was) too (?:long|large (?:for|to process))
        too (?:many|much) (?:input |prompt )?tokens(?! per)
        token count.{0,40}exceeds
        tokens?.{0,40}(?:exceeds?|more than|greater than|larger than|>).{0,60}(?:tokens|maximum|limit|allowed|\d)
        exceed(?:s|ed)? (?:\w+ ){0,3}(?:token|context|input|prompt) (?:limit|length|count|window)
        input length.{0,40}exceed
        exceeds? the (?:maximum )?number of (?:input )?tokens
        (?:maximum|max)(?:imum)? (?:prompt|input|model|sequence) (?:token )?length
        model max length
        max size: \d+ tokens
        tokens.{0,40}must be <=
        must have less than \d+ tokens
        max_tokens must be at least 1, got -
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
)
