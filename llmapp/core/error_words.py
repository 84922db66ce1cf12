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
            invalid_authentication_error incorrect_api_key_error invalid_iam_token unable_to_authenticate
            nocredentialserror expired_token partialcredentialserror tokenretrievalerror ssotokenloaderror
            defaultcredentialserror refresherror ai_loadapikeyerror
        """,
        K.BILLING: """
            billing_error insufficient_credits billing_hard_limit_reached payment_required
            insufficient_balance not_enough_balance billing_not_active credit_balance_too_low arrearage
            personal-team-blocked:spending-limit insufficient_user_quota insufficient_funds
            insufficient_credit billing_disabled
            accountoverdueerror serviceoverdue prepaidbilloverdue postpaidbilloverdue overdue_payment
            commoditynotpurchased spend_limit_reached billing_cap_exceeded credit_limit_exceeded
        """,
        K.QUOTA_EXHAUSTED: """
            insufficient_quota usage_limit_reached budget_exceeded quota_exceeded monthly_limit_reached
            usage_limit_exceeded servicequotaexceededexception exceeded_current_quota_error
            pre_consume_token_quota_failed daily_limit_exceeded
            freetieronly setlimitexceeded accountquotaexceeded budgetexceedederror quota_exhausted
            user_weekly_rate_limited token_quota_exhausted free_tier_exhausted
        """,
        K.CONTEXT_OVERFLOW: """
            context_length_exceeded exceed_context_size_error tokens_limit_reached context_window_exceeded
            model_context_window_exceeded string_above_max_length contextwindowexceedederror
            model_max_prompt_tokens_exceeded context_window_exceeded_error prompt_too_long input_too_long model_length
        """,
        K.CONTENT_POLICY: """
            content_filter content_policy_violation responsibleaipolicyviolation content_filter_error
            data_inspection_failed datainspectionfailed prompt_blocked invalid_prompt moderation_blocked
            content_blocked safety prohibited_content contentpolicyviolationerror sensitive_words_detected
            input_moderation guardrail_intervened refusal
            sensitivecontentdetected inputtextsensitivecontentdetected outputtextsensitivecontentdetected
            inputtextriskdetection cyber_policy content_moderation recitation blocklist spii policy_violation
            contentfilterfinishreasonerror image_safety content_filtered error_toxic sensitive
            image_content_policy_violation
        """,
        K.THINKING_SIGNATURE: """
            invalid_encrypted_content thinking_signature_invalid missing_thought_signature
        """,
        K.UNSUPPORTED_PARAMETER: """
            unsupported_parameter unsupported_value unknown_parameter unsupportedparamserror
            extra_forbidden unsupported_param ai_unsupportedfunctionalityerror
        """,
        K.MODEL_NOT_FOUND: """
            model_not_found deploymentnotfound model_not_available model_not_exist modelnotfound
            model_deprecated modeldeprecated servicemodeldeprecated model_gone
            model_not_supported invalid_model unknown_model modelnotfounderror
            model_decommissioned modelnotopen unsupportedmodel invalidendpointormodel invalidendpoint
            get_channel_failed model_price_error modelnotexist model_is_deactivated ai_nosuchmodelerror
        """,
        K.OUTPUT_TRUNCATED: """
            max_output_tokens lengthfinishreasonerror
        """,
        K.INVALID_RESPONSE: """
            tool_use_failed json_validate_failed output_parse_failed
            malformed_function_call empty_response bad_response_body unexpected_tool_call
            too_many_tool_calls malformed_response malformed_model_output malformed_tool_use
        """,
        K.OVERLOADED: """
            overloaded_error server_is_overloaded engine_overloaded_error engine_overloaded model_overloaded
            server_overloaded modelnotreadyexception slow_down overloadederror
            model_capacity_exhausted serveroverloaded capacity_exceeded modelservingerror modelunavailable
            insufficient_system_resource overloaded
        """,
        K.PAYLOAD_TOO_LARGE: """
            request_too_large payload_too_large request_entity_too_large
            oversizeimage requesttoolargeerror image_too_large image_file_too_large
        """,
        K.CANCELLED: """
            cancellederror request_cancelled cancelled canceled keyboardinterrupt clientdisconnect
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
            toomanyrequestserror rate_limit_reached rate_exceeded resourceexhausted ratelimitexceeded
            rate_limit_reached_error too_many_requests_error too_many_tokens_error token_quota_exceeded
            throttling_error throttlingerror dynamic_request_limited model_rate_limit requestbursttoofast ratequota
            burstrate allocationquota endpointrpmexceeded endpointtpmexceeded modelaccounttpmratelimitexceeded
            modelaccountrpmratelimitexceeded apiaccountrpmratelimitexceeded accountratelimitexceeded
            user_global_rate_limited user_model_rate_limited rpm_rate_limit_exceeded tpm_rate_limit_exceeded
        """,
        K.PERMISSION: """
            permission_error permission_denied accessdeniedexception accessdenied forbidden access_denied
            permissiondeniederror unsupported_country_region_territory insufficient_permissions
            permission_denied_error permissiondenied unpurchased servicenotopen organization_restricted
            model_terms_required key_model_access_denied iam_permission_denied service_disabled access_terminated_error
            feature_flag_blocked consumer_suspended validation_required access_terminated
        """,
        K.MODEL_NOT_FOUND: """
            not_found_error resourcenotfoundexception not_found resource_not_found_error notfounderror
            notfound
            resourcenotfound
        """,
        K.TIMEOUT: """
            timeout_error deadline_exceeded request_timeout modeltimeoutexception timeouterror readtimeout
            gateway_timeout timeout apitimeouterror user_request_timeout connecttimeout sockettimeouterror
            connectiontimeouterror readtimeouterror timeoutexception pooltimeout writetimeout
            requesttimeout responsetimeout und_err_headers_timeout und_err_connect_timeout connecttimeouterror
        """,
        K.OVERLOADED: """
            unavailable serviceunavailableexception service_unavailable service_unavailable_error
            serviceunavailable serviceunavailableerror
        """,
        K.SERVER_ERROR: """
            internal_error server_error api_error internal internalservererror internalserverexception
            internal_server_error modelerrorexception upstream_error internalfailure
            internalserviceerror systemerror modelservicefailed enginedeaderror
            read_response_body_failed do_request_failed
        """,
        K.OUTPUT_TRUNCATED: """
            max_tokens length
        """,
        K.CONNECTION: """
            connecterror connectionerror apiconnectionerror connectionrefusederror clientconnectorerror
            serverdisconnectederror connectionreseterror gaierror sslerror clientconnectordnserror
            endpointconnectionerror proxyerror newconnectionerror sslcertverificationerror connectionclosederror
            clientoserror brokenpipeerror readerror writeerror closeerror proxyconnectionerror clienthttpproxyerror
            clientproxyconnectionerror clientconnectionreseterror serverconnectionerror nameresolutionerror
            remotedisconnected connectionabortederror network_error
        """,
        K.STREAM_INTERRUPTED: """
            emptystreamerror clientpayloaderror incompletereaderror transferencodingerror
            chunkedencodingerror midstreamfallbackerror incomplete_generation eventstreamerror
            modelstreamerrorexception incompleteread responsestreamingerror endofstream
        """,
        K.INVALID_RESPONSE: """
            jsondecodeerror validationerror
        """,
        K.INVALID_REQUEST: """
            invalid_request_error invalid_argument validationexception invalid_parameter bad_request
            badrequesterror invalid_request badrequest failed_precondition validation_error invalidparameter
            unprocessable_entity_error invalid_request_body unprocessableentityerror
            bad_request_error invalid_request_message_order missingparameter invalid_params invalid_value
            previous_response_not_found invalid_function_parameters convert_request_failed unsupportedprotocol
            invalidargument failedprecondition invalidurl missingschema localprotocolerror bad_input
            ai_invalidprompterror ai_invalidargumenterror
        """,
    }.items()
    for word in words.split()
}

#: Names of exceptions that say where it was noticed more than what it was: for want of anything better.
WEAK_WORDS: dict[str, K] = {
    word: kind
    for kind, words in {
        K.CONNECTION: """
            remoteprotocolerror protocolerror maxretryerror httpclienterror socketerror
        """,
        K.STREAM_INTERRUPTED: """
            eoferror brokenresourceerror closedresourceerror streamclosed
        """,
        K.INVALID_RESPONSE: """
            decodingerror contenttypeerror contentdecodingerror badstatusline outputparserexception unicodedecodeerror
            apiresponsevalidationerror jsonschemavalidationerror ai_noobjectgeneratederror ai_typevalidationerror
            ai_jsonparseerror ai_emptyresponsebodyerror ai_invalidresponsedataerror ai_nocontentgeneratederror
            ai_nooutputgeneratederror ai_invalidtoolargumentserror ai_invalidtoolinputerror ai_nosuchtoolerror
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

#: Statuses that no provider sends, but whoever stands in front of it: their pages say nothing better.
PROXY_STATUSES = frozenset({520, 521, 522, 523, 524, 525, 526, 530, 598})
