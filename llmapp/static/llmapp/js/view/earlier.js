// The way to earlier messages: a button above the thread, which brings some of them at a time.

import { tn } from "../config.js";
import { announce } from "./announcer.js";
import { find } from "./dom.js";

export class Earlier {
  #thread;
  #scroll;
  #load;
  #failed;
  #loading = false;

  // `load(message)` brings the server's HTML of what stands before a message, null or an error when it cannot;
  // then `failed()` is called.
  constructor({ thread, scroll, load, failed }) {
    this.#thread = thread;
    this.#scroll = scroll;
    this.#load = load;
    this.#failed = failed;
    find("thread-place").addEventListener("click", ({ target }) => {
      const button = target.closest("[data-show-earlier]");
      if (button) this.#show(button);
    });
  }

  // Internal

  async #show(button) {
    if (this.#loading) return;
    this.#loading = true;
    button.ariaBusy = "true";
    const message = this.#thread.earlier;
    const html = await this.#load(message).catch(() => null);
    this.#loading = false;
    button.ariaBusy = "false";
    if (!html) return this.#failed();
    // Unless the thread became another one meanwhile.
    if (message === this.#thread.earlier) this.#put(html);
  }

  #put(html) {
    const focused = document.activeElement?.matches("[data-show-earlier]");
    let articles = [];
    this.#scroll.hold(() => (articles = this.#thread.prepend(html)));
    announce(tn("earlier.shown", articles.length));
    // The button is gone with the first message: who pressed it goes on there.
    if (focused && !this.#thread.earlier) focusOn(articles[0]);
  }
}

function focusOn(article) {
  article.tabIndex = -1;
  article.focus({ preventScroll: true });
}
