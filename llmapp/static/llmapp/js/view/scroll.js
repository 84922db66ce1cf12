// Keeps the latest line in view, but only for who is there already.

import { find } from "./dom.js";

// This near the end counts as being there, in pixels.
const NEAR = 40;

export class Scroll {
  #scroller = find("scroller");
  #column = find("column");
  #button = find("latest");
  #following = !find("empty");
  #last = 0;

  constructor() {
    this.#scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.#button.addEventListener("click", () => this.toLatest({ smooth: true }));
    const growth = new ResizeObserver(() => this.#grown());
    growth.observe(this.#column);
    growth.observe(this.#scroller);
  }

  toLatest({ smooth = false } = {}) {
    this.#following = true;
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.#scroller.scrollTo({ top: this.#scroller.scrollHeight, behavior: smooth && !calm ? "smooth" : "instant" });
    this.#showButton();
  }

  // Do something that puts more above what is seen, which stays where it is.
  hold(change) {
    const end = () => this.#column.getBoundingClientRect().bottom;
    const before = end();
    change();
    this.#scroller.scrollTop += end() - before;
  }

  // Internal

  get #distance() {
    const { scrollHeight, scrollTop, clientHeight } = this.#scroller;
    return scrollHeight - scrollTop - clientHeight;
  }

  // Only a person scrolls up; growth never does.
  #scrolled() {
    const top = this.#scroller.scrollTop;
    if (this.#distance < NEAR) this.#following = true;
    else if (top < this.#last) this.#following = false;
    this.#last = top;
    this.#showButton();
  }

  #grown() {
    if (this.#following) this.#scroller.scrollTop = this.#scroller.scrollHeight;
    this.#showButton();
  }

  #showButton() {
    // An empty chat has no latest line, however small its window.
    this.#button.hidden = this.#following || this.#distance < NEAR || Boolean(find("empty"));
  }
}
