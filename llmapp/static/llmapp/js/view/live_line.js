// The live status line of an answer: what it waits for, and what the recovery is doing.

import { has, seconds, t } from "../config.js";
import { announce } from "./announcer.js";
import { find, say } from "./dom.js";

export class LiveLine {
  #line;
  #text;
  #notice = null;
  #until = 0;
  #timer = null;

  constructor(article) {
    this.#line = find("live", article);
    this.#text = find("live-text", article);
  }

  show(state, note = "") {
    this.#take(state.notice);
    const sentence = note || this.#sentence(state);
    this.#line.hidden = !sentence;
    this.#line.dataset.kind = state.notice ? "notice" : "state";
    say(this.#text, sentence);
  }

  hide() {
    this.#take(null);
    this.#line.hidden = true;
  }

  // Internal

  #take(notice) {
    if (notice === this.#notice) return;
    clearInterval(this.#timer);
    this.#notice = notice;
    if (!notice) return;
    this.#until = performance.now() + (notice.seconds ?? 0) * 1000;
    // Spoken once, as it began; the seconds that run down are for the eye.
    announce(noticeSentence(notice, notice.seconds));
    if (notice.seconds) this.#timer = setInterval(() => this.#tick(), 1000);
  }

  #tick() {
    say(this.#text, noticeSentence(this.#notice, this.#left()));
  }

  #left() {
    return Math.max(0, Math.round((this.#until - performance.now()) / 1000));
  }

  #sentence({ notice, status, reason, messages, reasoning }) {
    if (notice) return noticeSentence(notice, this.#left());
    if (status === "queued") return t(reason ? "answer.requeued" : "answer.queued");
    const writing = messages.some((message) => message.open && message.text) || reasoning.some((part) => part.open);
    return writing ? "" : t("answer.thinking");
  }
}

function noticeSentence({ kind, action: name, model = "" }, left) {
  const action = snakeCase(name);
  const problem = has(`problem.${kind}`) ? t(`problem.${kind}`) : t("problem.server_error");
  const values = { problem, model, seconds: seconds(left ?? 0) };
  if (action === "wait" && !left) return t("action.wait_soon", values);
  if (action === "switch_model" && !model) return t("action.switch_model_unnamed", values);
  return t(has(`action.${action}`) ? `action.${action}` : "action.retry", values);
}

// Actions go by the names of their classes: SwitchModel is switch_model here.
function snakeCase(name) {
  return name.replace(/(?<=[a-z])[A-Z]/g, "_$&").toLowerCase();
}
