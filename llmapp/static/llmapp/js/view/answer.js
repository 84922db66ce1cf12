// One run in the page: what it says, how it goes, how it ended.

import { t, has } from "../config.js";
import { ACTIVE, textOf } from "../run_state.js";
import { Blocks } from "./blocks.js";
import { dressCode } from "./code.js";
import { element, find, say } from "./dom.js";
import { causeOf, summarisedNote } from "./ending.js";
import { LiveLine } from "./live_line.js";
import { factsOf, showMeta } from "./meta.js";

const TRY_AGAIN = ["incomplete", "failed", "cancelled"];

export class Answer {
  #live;
  #messages = new Map(); // id -> { node, blocks, shown }
  #state = null;
  #note = "";

  constructor(article) {
    this.article = article;
    this.#live = new LiveLine(article);
  }

  // Finish what the server rendered: headings over code, the numbers under it, times by the reader's own clock.
  static dress(article) {
    dressCode(article);
    const { error: code, facts } = article.dataset;
    if (facts) say(find("end-text", article), causeOf({ code, facts: JSON.parse(facts) }));
    if (!ACTIVE.includes(article.dataset.status)) showMeta(find("meta", article), factsOf(article));
  }

  update(state) {
    if (state === this.#state) return;
    this.#state = state;
    this.article.dataset.status = state.status;
    this.#showReasoning(state.reasoning);
    this.#showMessages(state.messages);
    if (state.end) this.#showEnd(state.end);
    else this.#live.show(state, this.#note);
  }

  // Something that the page itself knows, in place of the live status: "Stopping".
  note(sentence) {
    this.#note = sentence;
    if (this.#state && !this.#state.end) this.#live.show(this.#state, sentence);
  }

  // Internal

  #showReasoning(parts) {
    const details = find("reasoning", this.article);
    const text = parts.map((part) => part.text).join("\n\n");
    details.hidden = !text;
    details.dataset.open = parts.some((part) => part.open);
    say(find("reasoning-text", details), text);
  }

  #showMessages(messages) {
    for (const message of messages) this.#showMessage(message);
    for (const [id, { node }] of this.#messages) {
      if (messages.some((message) => message.id === id)) continue;
      node.remove();
      this.#messages.delete(id);
    }
  }

  #showMessage(message) {
    const place = this.#messages.get(message.id) ?? this.#addMessage(message.id);
    if (place.shown === message) return;
    place.shown = message;
    place.node.dataset.open = message.open;
    place.blocks.show(message);
    dressCode(place.node);
  }

  #addMessage(id) {
    const node = element("div", "llmapp-prose");
    node.dataset.message = id;
    find("body", this.article).append(node);
    const place = { node, blocks: new Blocks(node), shown: null };
    this.#messages.set(id, place);
    return place;
  }

  #showEnd(end) {
    this.#live.hide();
    const badly = has(`end.${end.status}`);
    const cause = end.status !== "cancelled" && end.code;
    find("end", this.article).hidden = !badly;
    find("retry", this.article).hidden = !TRY_AGAIN.includes(end.status);
    say(find("end-title", this.article), badly ? t(`end.${end.status}`) : "");
    say(find("end-text", this.article), cause ? causeOf(end) : "");
    this.#showSummarised(this.#state.summarised);
    find("foot", this.article).hidden = false;
    find("copy", this.article).hidden = !textOf(this.#state);
    showMeta(find("meta", this.article), end);
  }

  #showSummarised(count) {
    const place = find("summarised", this.article);
    place.hidden = !(count > 0);
    say(place, summarisedNote(count));
  }
}
