"""Sentences that yield to usual words, and to a status that knows better. The rules are in `error_sentences`."""

from __future__ import annotations

from .errors import ErrorKind as K

GENERAL_PHRASES: tuple[tuple[K, str], ...] = (
    (
        K.PERMISSION,
        r"""
        (?<![-_'\"])permission(?!s?['\"])
        (?:do|does) not have (?:access|an active|permission|the required)
        don.t have access
        not (?:authorized|allowed|entitled|permitted|licensed)\b
        access (?:is |was |to \S+ )?(?:denied|forbidden|restricted)
        forbidden
        denied access | not eligible | restricted (?:from using|to authori[sz]ed) | lack an? .{0,40}licen[sc]e
        member of an organi[sz]ation
        insufficient authentication scopes
        verify your (?:account|organization)
        location.{0,40}(?:not supported|restricted|unsupported)
        is not supported for the api use
        not enabled (?:for|in) (?:this|your|the)
        must be verified | has not been used in project
        organization (?:has been|must)
        has been (?:disabled|suspended|banned|blocked|restricted)
        ip .{0,40}(?:not allowed|blocked|whitelist)
        无权 | 没有权限 | 权限 | 禁止访问 | 拒绝访问 | 封禁 | 禁用 | 被限制
        """,
    ),
    (
        K.TIMEOUT,
        r"""
        timed?[ -]?out
        (?:headers|body|read|connect) ?timeout
        deadline
        unresponsive
        took too long
        no response received
        inactivity
        idle timeout
        超时
        """,
    ),
    (
        K.STREAM_INTERRUPTED,
        r"""
        incomplete (?:chunked )?(?:read|message|body|response|generation)
        (?:stream|connection|response|request|peer).{0,40}(?:ended|closed|dropped|terminated|disconnected).{0,60}(?:before|without)
        (?:stream|connection|response|peer).{0,40}(?:ended|closed|dropped|terminated|stopped).{0,60}(?:with no|while)
        (?:stream|connection|response|peer).{0,40}(?:closed|terminated|interrupted|broke|cut).{0,60}(?:unexpected|mid|early|prematurely)
        empty stream
        premature (?:close|end)
        err_stream_premature
        unexpected (?:eof|end of (?:file|stream))
        \bstream (?:error|(?:\d+ )?(?:was )?reset|interrupted|disconnected|closed|idle)
        payload is not completed
        response ended prematurely
        mid-?stream
        not enough data (?:for|to)
        err_incomplete_chunked
        invalidchunklength
        connectionterminated
        goaway
        ^(?:typeerror: )?terminated$
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
        other side closed
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
        do request failed
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
        (?:could not|cannot|can.t|unable to) (?:parse|decode) (?:the )?(?:model.s )?(?:response|output|answer|json)
        (?:deserializing|decoding|parsing) .{0,30}response
        eof while parsing | unterminated string | end of json
        failed to parse (?:input|response|output|tool|the (?:response|output))
        error parsing tool call
        empty (?:response|completion|answer|message|reply)
        (?:no|missing) (?:choices|candidates|content in)
        keyerror: .choices
        .nonetype. object (?:is not|has no)
        list index out of range
        unexpected (?:response|content|token)
        failed to call a function
        did not match schema
        空响应 | 返回为空 | 解析.{0,6}(?:失败|错误)
        """,
    ),
    (
        K.INVALID_REQUEST,
        r"""
        invalid (?:request|argument|parameter|value|input|type|body|schema|role|format|params?|url)
        (?:parameters?|arguments?).{0,40}(?:not valid|invalid)
        unsupportedprotocol
        validation
        bad (?:request|input)
        must (?:be|have|contain|follow|match|start|end)\b | (?:must|should) (?:alternate|be alternating)
        is required
        cannot be (?:empty|blank|null)
        missing (?:required|field)
        is not specified | input should be | field required
        rendering prompt | previous response.{0,80}not found | invalid messages? at
        may be provided
        supported (?:string )?values
        could not process
        unable to (?:submit|download)
        malformed
        failed to (?:parse|deserialize)
        could not parse
        (?:array|string) too long
        provider not provided
        streaming is (?:strongly )?(?:recommended|required)
        chat template
        (?:参数|请求).{0,10}(?:错误|无效|有误|不合法|非法|缺少) | 不能为空 | 格式错误
        """,
    ),
    (
        K.UNSUPPORTED_PARAMETER,  # where nothing says whether it is the model, the place or a parameter
        r"""
        (?:is|are) (?:currently )?not supported
        """,
    ),
    (
        K.SERVER_ERROR,
        r"""
        internal (?:server )?error
        server (?:had an )?error
        experienced an error
        unexpected error
        something went wrong
        unknown error
        out of memory
        more system memory
        runner (?:process )?has (?:terminated|unexpectedly)
        model (?:has )?crashed
        upstream
        backend error
        内部错误 | 服务器错误 | 系统错误 | 系统异常 | 未知错误 | 服务异常 | 操作失败
        """,
    ),
)
