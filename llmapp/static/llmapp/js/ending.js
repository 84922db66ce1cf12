// How an answer ended, in a sentence: the cause, what to do, and what is known beside it.
//
// The same rules as `runs/sentences.py`. Pure: the sentences and the spelling of values are handed in.

const RESETTING = ["quota_exhausted", "rate_limit", "overloaded"];

// `end`: { code, message, facts }. What the page has no sentence for, the server has said in `message`.
export function causeOf({ code, message = "", facts = {} }, { t, has, number, time }) {
  if (!has(`cause.${code}`)) return message;
  const plain = t(`cause.${code}`);
  const joined = (more, values) => t("cause.joined", { cause: plain, more: t(more, values) });
  const limit = isCount(facts.limit) ? number(facts.limit) : "";
  const needed = isCount(facts.needed) ? number(facts.needed) : "";
  const reset = new Date(facts.reset_at ?? NaN);
  if (code === "context_overflow" && limit && needed) return t("cause.message_alone", { limit, needed });
  if (code === "context_overflow" && limit) return joined("more.window", { limit });
  if (code === "output_truncated" && facts.reasoning === true) return t("cause.only_thought");
  if (code === "invalid_response" && facts.reasoning === true) return t("cause.only_thought_and_stopped");
  if (code === "output_truncated" && limit) return joined("more.output_limit", { limit });
  if (code === "model_not_found" && facts.gone === "agent") return t("cause.agent_gone");
  if (RESETTING.includes(code) && !Number.isNaN(reset.getTime())) return joined("more.resets", { time: time(reset) });
  return plain;
}

function isCount(value) {
  return Number.isInteger(value) && value > 0;
}
