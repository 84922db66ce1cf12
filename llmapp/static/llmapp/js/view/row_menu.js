// Rename and delete, behind the button beside each conversation.
//
// The list may be drawn anew while the menu or a dialog is open. So what is kept is the conversation's id, not its
// button: the menu goes where the button goes, and the focus goes back to where the button is by then.
//
// Events: "renamed" with { id, title }, "deleted" with { id }.

import { patch, remove } from "../api.js";
import { t } from "../config.js";
import { find, say } from "./dom.js";

export class RowMenu extends EventTarget {
  #menu = find("row-menu");
  #renaming = find("rename-dialog");
  #deleting = find("delete-dialog");
  #input = this.#renaming.querySelector("input");
  #sidebar;
  #id = null;

  constructor(sidebar) {
    super();
    this.#sidebar = sidebar;
    find("rows").addEventListener("click", (event) => this.#clicked(event));
    find("list").addEventListener("scroll", () => this.#follow(), { passive: true });
    sidebar.addEventListener("drawn", () => this.#follow());
    find("rename", this.#menu).addEventListener("click", () => this.#askTitle());
    find("delete", this.#menu).addEventListener("click", () => this.#askDelete());
    this.#prepare(this.#renaming, () => this.#rename());
    this.#prepare(this.#deleting, () => this.#delete());
  }

  // The menu

  #clicked({ target }) {
    const button = target.closest("[data-row-options]");
    if (!button) return;
    this.#id = button.closest("[data-row]").dataset.row;
    this.#menu.showPopover();
    this.#follow();
    find("rename", this.#menu).focus();
  }

  // Stay beside the button; close when it is scrolled out of the list.
  #follow() {
    if (!this.#menu.matches(":popover-open")) return;
    const button = this.#sidebar.optionsOf(this.#id).getBoundingClientRect();
    const list = find("list").getBoundingClientRect();
    if (button.bottom < list.top || button.top > list.bottom) this.#menu.hidePopover();
    else this.#place(button);
  }

  #place(button) {
    const { width, height } = this.#menu.getBoundingClientRect();
    const below = button.bottom + 4;
    const top = below + height < window.innerHeight ? below : button.top - height - 4;
    this.#menu.style.top = `${top}px`;
    this.#menu.style.left = `${Math.max(8, Math.min(button.left, window.innerWidth - width - 8))}px`;
  }

  // The dialogs

  #askTitle() {
    this.#input.value = this.#sidebar.titleOf(this.#id);
    this.#open(this.#renaming);
    this.#input.select();
  }

  #askDelete() {
    find("delete-question").textContent = t("delete.question", { title: this.#sidebar.titleOf(this.#id) });
    this.#open(this.#deleting);
  }

  #open(dialog) {
    this.#menu.hidePopover();
    this.#fail(dialog, "");
    dialog.showModal();
  }

  #prepare(dialog, act) {
    find("dialog-cancel", dialog).addEventListener("click", () => dialog.close());
    // A click on the veil around it, which belongs to the dialog element itself.
    dialog.addEventListener("mousedown", (event) => event.target === dialog && dialog.close());
    dialog.addEventListener("close", () => this.#goBack(dialog));
    dialog.querySelector("form").addEventListener("submit", async (event) => {
      event.preventDefault();
      try {
        await act();
        dialog.close();
      } catch (error) {
        this.#fail(dialog, error.code ? error.message : t("refused.network"));
      }
    });
  }

  // The browser gave the focus back when the dialog closed, unless the button was not there to take it. This comes
  // a moment later: who has pressed the next key by then keeps what it opened.
  #goBack(dialog) {
    const focused = document.activeElement ?? document.body;
    if (focused === document.body || dialog.contains(focused)) this.#sidebar.optionsOf(this.#id).focus();
  }

  #fail(dialog, sentence) {
    const place = find("dialog-error", dialog);
    place.hidden = !sentence;
    say(place, sentence);
  }

  // Actions

  async #rename() {
    const id = this.#id;
    const { title } = await patch(`api/conversations/${id}`, { title: this.#input.value });
    this.#sidebar.rename(id, title);
    this.dispatchEvent(new CustomEvent("renamed", { detail: { id, title } }));
  }

  async #delete() {
    const id = this.#id;
    await remove(`api/conversations/${id}`);
    this.#id = this.#sidebar.remove(id);
    this.dispatchEvent(new CustomEvent("deleted", { detail: { id } }));
  }
}
