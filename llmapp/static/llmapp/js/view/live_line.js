// The live status line of an answer: what it waits for, and what the recovery is doing.

import { has, seconds, t, tn } from "../config.js";
import { noticeSentence, SECONDS, waitingSentence } from "../notice.js";
import { announce } from "./announcer.js";
import { element, find, say } from "./dom.js";
import { timeOf } from "./ending.js";

const strings = { has, t, tn };

export class LiveLine {
  #article;
  #line;
  #text;
  #news = null; // the notice, or the waiting, that is told
  #until = 0; // when it is over, by the page's clock
  #timer = null;
  #note = ""; // what the page itself says, in place of all that
  #shown = "";

  constructor(article) {
    this.#article = article;
    this.#line = find("live", article);
    this.#text = find("live-text", article);
  }

  show(state, note = "") {
    this.#note = note;
    this.#take(state.notice ?? state.waiting);
    const sentence = note || this.#sentence(state);
    this.#line.hidden = !sentence;
    this.#line.dataset.kind = this.#news ? "notice" : "state";
    this.#write(sentence);
  }

  hide() {
    this.#take(null);
    this.#line.hidden = true;
  }

  // Internal

  #take(news) {
    if (news === this.#news) return;
    clearInterval(this.#timer);
    this.#news = news;
    if (!news) return;
    this.#until = Date.now() + (news.seconds ?? 0) * 1000;
    if (!news.action) this.#until = this.#goesOn();
    // Spoken once, as it began; the seconds that run down are for the eye.
    announce(this.#newsSentence().replaceAll(SECONDS, seconds(this.#left())));
    if (this.#left()) this.#timer = setInterval(() => this.#tick(), 1000);
  }

  // The server says when a run that it shows as waiting goes on; of one that begins to wait, the event says how long.
  #goesOn() {
    const known = Date.parse(this.#article.dataset.until ?? "");
    return known > Date.now() ? known : this.#until;
  }

  #tick() {
    if (!this.#note) this.#write(this.#newsSentence());
  }

  #left() {
    return Math.max(0, Math.ceil((this.#until - Date.now()) / 1000));
  }

  #sentence({ status, reason, messages, reasoning }) {
    if (this.#news) return this.#newsSentence();
    if (status === "queued") return t(reason ? "answer.requeued" : "answer.queued");
    const writing = messages.some((message) => message.open && message.text) || reasoning.some((part) => part.open);
    return writing ? "" : t("answer.thinking");
  }

  #newsSentence() {
    if (this.#news.action) return noticeSentence(this.#news, this.#left(), strings);
    if (!this.#left()) return t("answer.queued");
    return waitingSentence(this.#news, timeOf(new Date(this.#until), { exact: true }), strings);
  }

  // The seconds have a place of their own, as wide as they were at first: nothing moves while they run down.
  #write(sentence) {
    const left = seconds(this.#left());
    if (sentence === this.#shown) {
      const place = find("seconds", this.#text);
      if (place) say(place, left);
      return;
    }
    this.#shown = sentence;
    const [before, ...after] = sentence.split(SECONDS);
    if (!after.length) return say(this.#text, sentence);
    const place = element("span", "llmapp-seconds", left);
    place.dataset.seconds = "";
    this.#text.replaceChildren(before, place, after.join(""));
    place.style.minWidth = `${place.getBoundingClientRect().width}px`;
  }
}
