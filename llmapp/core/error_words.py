"""What providers' words and statuses mean: the first and the last table of `classify`.

Rules of the tables:

* The first row that fits wins, so what is special stands above what is general.
* A row is about a meaning ("the input is longer than the window"), in as many wordings as are known, and
  never about one provider's one message.
"""

from __future__ import annotations

from .errors import ErrorKind as K

#: Words of a provider's vocabulary that can mean one thing only, whatever the status and the sentence say.
DECISIVE_WORDS: dict[str, K] = {
    word: kind
    for kind, words in {
        K.AUTH: """
            authentication_error invalid_api_key api_key_invalid unauthenticated unrecognizedclientexception
            invalidclienttokenid expiredtokenexception expiredtoken invalidsignatureexception
            signaturedoesnotmatch invalid_token token_expired invalidapikey invalid_authentication
            account_deactivated access_token_expired incorrect_api_key authenticationerror
            missingauthenticationtoken
        """,
        K.BILLING: """
            billing_error insufficient_credits billing_hard_limit_reached payment_required
            insufficient_balance billing_not_active credit_balance_too_low arrearage
            personal-team-blocked:spending-limit insufficient_user_quota insufficient_funds
            insufficient_credit billing_disabled
        """,
        K.QUOTA_EXHAUSTED: """
            insufficient_quota usage_limit_reached budget_exceeded quota_exceeded monthly_limit_reached
            usage_limit_exceeded servicequotaexceededexception exceeded_current_quota_error
            pre_consume_token_quota_failed daily_limit_exceeded
        """,
        K.CONTEXT_OVERFLOW: """
            context_length_exceeded exceed_context_size_error tokens_limit_reached context_window_exceeded
            model_context_window_exceeded string_above_max_length contextwindowexceedederror
        """,
        K.CONTENT_POLICY: """
            content_filter content_policy_violation responsibleaipolicyviolation content_filter_error
            data_inspection_failed datainspectionfailed prompt_blocked invalid_prompt moderation_blocked
            content_blocked safety prohibited_content contentpolicyviolationerror sensitive_words_detected
            input_moderation guardrail_intervened refusal
        """,
        K.THINKING_SIGNATURE: """
            invalid_encrypted_content thinking_signature_invalid
        """,
        K.UNSUPPORTED_PARAMETER: """
            unsupported_parameter unsupported_value unknown_parameter unsupportedparamserror
        """,
        K.MODEL_NOT_FOUND: """
            model_not_found deploymentnotfound model_not_available model_not_exist modelnotfound
            model_deprecated model_not_supported invalid_model unknown_model modelnotfounderror
        """,
        K.OUTPUT_TRUNCATED: """
            max_output_tokens
        """,
        K.INVALID_RESPONSE: """
            tool_use_failed json_validate_failed output_parse_failed
        """,
        K.OVERLOADED: """
            overloaded_error server_is_overloaded engine_overloaded_error engine_overloaded model_overloaded
            server_overloaded modelnotreadyexception slow_down overloadederror
        """,
        K.PAYLOAD_TOO_LARGE: """
            request_too_large payload_too_large request_entity_too_large
        """,
        K.CANCELLED: """
            cancellederror request_cancelled
        """,
    }.items()
    for word in words.split()
}

#: Words that hold unless a sentence says something more special.
USUAL_WORDS: dict[str, K] = {
    word: kind
    for kind, words in {
        K.RATE_LIMIT: """
            rate_limit_error rate_limit_exceeded rate_limited rate_limit throttlingexception throttling
            toomanyrequestsexception too_many_requests toomanyrequests resource_exhausted ratelimiterror
            rate_limit_reached rate_exceeded resourceexhausted ratelimitexceeded
        """,
        K.PERMISSION: """
            permission_error permission_denied accessdeniedexception accessdenied forbidden access_denied
            permissiondeniederror unsupported_country_region_territory insufficient_permissions
        """,
        K.MODEL_NOT_FOUND: """
            not_found_error resourcenotfoundexception not_found resource_not_found_error notfounderror
            resourcenotfound
        """,
        K.TIMEOUT: """
            timeout_error deadline_exceeded request_timeout modeltimeoutexception timeouterror readtimeout
            gateway_timeout timeout apitimeouterror user_request_timeout connecttimeout sockettimeouterror
            connectiontimeouterror readtimeouterror timeoutexception pooltimeout writetimeout
        """,
        K.OVERLOADED: """
            unavailable serviceunavailableexception service_unavailable service_unavailable_error
            serviceunavailable serviceunavailableerror
        """,
        K.SERVER_ERROR: """
            internal_error server_error api_error internal internalservererror internalserverexception
            internal_server_error modelerrorexception upstream_error internalfailure
        """,
        K.OUTPUT_TRUNCATED: """
            max_tokens length
        """,
        K.CONNECTION: """
            connecterror connectionerror apiconnectionerror connectionrefusederror clientconnectorerror
            serverdisconnectederror connectionreseterror gaierror sslerror clientconnectordnserror
        """,
        K.STREAM_INTERRUPTED: """
            emptystreamerror clientpayloaderror incompletereaderror transferencodingerror
            modelstreamerrorexception
        """,
        K.INVALID_RESPONSE: """
            jsondecodeerror
        """,
        K.INVALID_REQUEST: """
            invalid_request_error invalid_argument validationexception invalid_parameter bad_request
            badrequesterror invalid_request badrequest failed_precondition validation_error invalidparameter
            unprocessable_entity_error invalid_request_body unprocessableentityerror
        """,
    }.items()
    for word in words.split()
}

#: What is left when nobody said anything better.
STATUSES: dict[int, K] = {
    400: K.INVALID_REQUEST,
    401: K.AUTH,
    402: K.BILLING,
    403: K.PERMISSION,
    404: K.MODEL_NOT_FOUND,
    405: K.INVALID_REQUEST,
    406: K.INVALID_REQUEST,
    408: K.TIMEOUT,
    409: K.SERVER_ERROR,
    410: K.MODEL_NOT_FOUND,
    411: K.INVALID_REQUEST,
    413: K.PAYLOAD_TOO_LARGE,
    415: K.INVALID_REQUEST,
    422: K.INVALID_REQUEST,
    424: K.SERVER_ERROR,
    425: K.OVERLOADED,
    429: K.RATE_LIMIT,
    430: K.RATE_LIMIT,
    451: K.CONTENT_POLICY,
    498: K.AUTH,
    499: K.CANCELLED,
    500: K.SERVER_ERROR,
    501: K.INVALID_REQUEST,
    502: K.SERVER_ERROR,
    503: K.OVERLOADED,
    504: K.TIMEOUT,
    507: K.SERVER_ERROR,
    520: K.SERVER_ERROR,
    521: K.CONNECTION,
    522: K.TIMEOUT,
    523: K.CONNECTION,
    524: K.TIMEOUT,
    525: K.CONNECTION,
    526: K.CONNECTION,
    529: K.OVERLOADED,
    530: K.CONNECTION,
    598: K.TIMEOUT,
}
