// The message on its way: kept until the server says that it has it, sent again after a lost connection.
// The server knows it by its id, so it is never stored twice.

import { uuid4 } from "./uuid.js";

// A connection that takes a message and says nothing for this long is not one.
const ANSWERED_WITHIN = 10 * 1000;

export class Outbox {
  #message = null;
  #timer = null;
  #stored;
  #overdue;

  constructor({ stored, overdue }) {
    this.#stored = stored;
    this.#overdue = overdue;
  }

  get message() {
    return this.#message;
  }

  // What was on its way when the page was left.
  get leftover() {
    return this.#stored.value;
  }

  put(text) {
    this.#message = { id: uuid4(), text };
    this.#stored.value = this.#message;
    return this.#message;
  }

  handedOver() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#message && this.#overdue(), ANSWERED_WITHIN);
  }

  // Forget the message with this id, and return it.
  take(id) {
    if (this.#message?.id !== id) return null;
    const message = this.#message;
    clearTimeout(this.#timer);
    this.#message = null;
    this.#stored.value = null;
    return message;
  }

  dropLeftover() {
    this.#stored.value = null;
  }

  belongsTo(conversation) {
    this.#stored = this.#stored.movedTo(conversation);
  }
}
