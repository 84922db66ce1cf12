// The message box: grows with its text, sends on Enter, keeps the draft when a message is refused.
//
// Events: "send" with the text, "stop".

import { config, number, t } from "./config.js";
import { pointsIn } from "./text.js";
import { find, say } from "./view/dom.js";

// The count is shown from this share of the limit on.
const NEAR_LIMIT = 0.9;

export class Composer extends EventTarget {
  #form = find("composer");
  #box = find("text", this.#form);
  #send = find("send", this.#form);
  #stop = find("stop", this.#form);
  #length = find("length", this.#form);
  #draft;
  #busy = false;
  #tooLong = false;

  constructor(draft) {
    super();
    this.#draft = draft;
    this.#form.addEventListener("submit", (event) => this.#submitted(event));
    this.#box.addEventListener("input", () => this.#changed());
    this.#box.addEventListener("keydown", (event) => this.#pressed(event));
    this.#stop.addEventListener("click", () => this.dispatchEvent(new Event("stop")));
    this.text = this.#box.value || draft.value || "";
  }

  get text() {
    return this.#box.value;
  }

  set text(text) {
    this.#box.value = text;
    this.#changed();
  }

  // Put back what was refused, before what was typed since.
  restore(text) {
    this.text = this.text ? `${text}\n\n${this.text}` : text;
    this.focus();
  }

  set busy(busy) {
    if (busy === this.#busy) return;
    const hadFocus = this.#form.contains(document.activeElement);
    this.#busy = busy;
    this.#send.hidden = busy;
    this.#stop.hidden = !busy;
    this.#stop.disabled = false;
    // A button that disappears takes the focus with it.
    if (hadFocus) this.focus();
  }

  get busy() {
    return this.#busy;
  }

  stopping() {
    this.#stop.disabled = true;
  }

  set placeholder(text) {
    this.#box.placeholder = text;
  }

  belongsTo(conversation) {
    this.#draft = this.#draft.movedTo(conversation);
  }

  focus() {
    this.#box.focus({ preventScroll: true });
  }

  // Internal

  #submitted(event) {
    event.preventDefault();
    this.dispatchEvent(new CustomEvent("send", { detail: this.text }));
  }

  #changed() {
    this.#grow();
    this.#count();
    this.#send.disabled = !this.text.trim() || this.#tooLong;
    this.#draft.value = this.text;
  }

  // For browsers without `field-sizing: content`.
  #grow() {
    if (CSS.supports("field-sizing", "content")) return;
    this.#box.style.height = "auto";
    this.#box.style.height = `${this.#box.scrollHeight}px`;
  }

  #count() {
    const near = this.text.length > config.limit * NEAR_LIMIT;
    const length = near ? pointsIn(this.text) : 0;
    this.#tooLong = length > config.limit;
    this.#length.hidden = length <= config.limit * NEAR_LIMIT;
    this.#length.dataset.over = this.#tooLong;
    if (near) say(this.#length, t("length", { length: number(length), limit: number(config.limit) }));
  }

  #pressed(event) {
    // Enter also ends the composition of a Chinese or Japanese word; some browsers say so by 229 only.
    const composing = event.isComposing || event.keyCode === 229;
    if (event.key !== "Enter" || event.shiftKey || event.altKey || composing || writesByTouch()) return;
    event.preventDefault();
    this.#form.requestSubmit();
  }
}

// A phone's keyboard has no Shift and Enter: there Enter makes a line, and the button sends.
function writesByTouch() {
  return matchMedia("(pointer: coarse) and (hover: none)").matches;
}
