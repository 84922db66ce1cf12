// The live status line as a sentence: what is wrong, what is done about it, for how long, which attempt it is.
//
// Pure: `say(key, values)` and `has(key)` give the sentences, so it needs no page to be tested.

// Where the number of seconds stands, so that it can count down without the rest being written again.
export const SECONDS = "\u0001";

// These say all by themselves.
const WHOLE = ["queue", "skipped"];

// `left` is how many seconds are left of those that the notice names.
export function noticeSentence(notice, left, { t, tn, has }) {
  const action = actionPart(notice, left, { t, tn, has });
  const line = WHOLE.includes(snakeCase(notice.action)) ? action : withProblem(notice.kind, action, { t, has });
  return notice.attempt > 1 ? t("line.attempt", { line, attempt: notice.attempt }) : line;
}

// A run that waits in the queue until its provider takes requests again: `time` is when it goes on.
export function waitingSentence({ kind = "" }, time, { t, has }) {
  return withProblem(kind, t("action.goes_on", { time }), { t, has });
}

// Without a kind there is no problem: it was foreseen.
function withProblem(kind, action, { t, has }) {
  if (!kind) return action;
  return t("line.both", { problem: t(has(`problem.${kind}`) ? `problem.${kind}` : "problem.server_error"), action });
}

function actionPart({ kind, action: name, model = "", count = 0 }, left, { t, tn, has }) {
  const action = snakeCase(name);
  const values = { model, seconds: SECONDS };
  if (action === "wait" && !(left > 0)) return t("action.wait_soon");
  if (action === "wait" && !kind) return t("action.wait_foreseen", values);
  if (action === "switch_model" && !model) return t("action.switch_model_unnamed");
  if (action === "compress" && count > 0) return tn("action.compress_count", count);
  return t(has(`action.${action}`) ? `action.${action}` : "action.retry", values);
}

// Actions go by the names of their classes: SwitchModel is switch_model here.
function snakeCase(name) {
  return name.replace(/(?<=[a-z])[A-Z]/g, "_$&").toLowerCase();
}
