// The list of conversations as a drawer, on narrow screens.

import { find } from "./dom.js";

export class Drawer {
  #sidebar = find("sidebar");
  #main = find("main");
  #opener = find("open-sidebar");
  #narrow = matchMedia("(max-width: 52rem)");

  constructor() {
    this.#opener.addEventListener("click", () => this.#show(true));
    find("close-sidebar").addEventListener("click", () => this.#show(false));
    find("veil").addEventListener("click", () => this.#show(false));
    this.#sidebar.addEventListener("keydown", ({ key, target }) => {
      if (key === "Escape" && !target.closest("[popover], dialog")) this.#show(false);
    });
    this.#narrow.addEventListener("change", () => this.#show(false));
    this.#show(false);
  }

  get isOpen() {
    return this.#opener.ariaExpanded === "true";
  }

  // What is behind the drawer, or the drawer itself, is out of reach for keyboards and screen readers.
  #show(open) {
    const was = this.isOpen;
    find("shell").dataset.drawer = open ? "open" : "closed";
    this.#opener.ariaExpanded = String(open);
    this.#sidebar.inert = this.#narrow.matches && !open;
    this.#main.inert = open;
    if (open) find("close-sidebar").focus();
    else if (was) this.#opener.focus();
  }
}
