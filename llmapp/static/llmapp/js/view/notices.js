// What stands over the message box and in the header: connection, missing workers, refusals.

import { get } from "../api.js";
import { copy } from "../clipboard.js";
import { t } from "../config.js";
import { announce } from "./announcer.js";
import { find, say } from "./dom.js";
import { flash } from "./feedback.js";

// A connection that is back within this time was not worth a word.
const PATIENCE = 700;

export class Notices {
  #connection = find("connection");
  #noWorker = find("no-worker");
  #refusal = find("refusal");
  #timer = null;

  constructor() {
    find("refusal-close").addEventListener("click", () => this.clearRefusal());
    const button = find("copy-command");
    button.addEventListener("click", () => flash(button, copy(find("command").textContent)));
  }

  // `state` is one of the connection's; `sentence` says more, where it is known.
  connection(state, sentence = "") {
    clearTimeout(this.#timer);
    const text = sentence || { reconnecting: t("connection.reconnecting"), offline: t("connection.offline") }[state];
    if (text) {
      this.#timer = setTimeout(() => this.#showConnection(state, text), sentence ? 0 : PATIENCE);
    } else if (!this.#connection.hidden) {
      this.#connection.hidden = true;
      announce(t("connection.back"));
    }
  }

  async worker(present) {
    const news = this.#noWorker.hidden !== present;
    this.#noWorker.hidden = present;
    if (present || !news) return;
    announce(this.#noWorker.querySelector("p").textContent.trim());
    // Staff are told how to start one.
    const { command = "" } = await get("api/status").catch(() => ({}));
    find("command-line").hidden = !command;
    say(find("command"), command);
  }

  refuse(sentence) {
    this.#refusal.hidden = false;
    say(find("refusal-text"), sentence);
  }

  clearRefusal() {
    this.#refusal.hidden = true;
    say(find("refusal-text"), "");
  }

  // Internal

  #showConnection(state, text) {
    this.#connection.hidden = false;
    this.#connection.dataset.state = state;
    say(find("connection-text"), text);
    announce(text);
  }
}
