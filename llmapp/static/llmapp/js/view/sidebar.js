// The list of conversations: grouped by day, newest first, more of it on demand.
//
// Events: "drawn" when rows may have another place.

import { get } from "../api.js";
import { config, date, t } from "../config.js";
import { all, element, find, fromTemplate } from "./dom.js";

const DAY = 24 * 60 * 60 * 1000;

export class Sidebar extends EventTarget {
  #rows = find("rows");
  #more = find("more");
  #cursor = null;
  #loading = false;

  constructor() {
    super();
    this.#group();
    this.#more.addEventListener("click", () => this.loadMore());
    new IntersectionObserver((entries) => {
      if (entries.some((entry) => entry.isIntersecting)) this.loadMore();
    }).observe(this.#more);
  }

  // Show what is new at the top: a conversation that was just used, here or elsewhere.
  async refresh() {
    const { conversations } = await this.#page(null).catch(() => ({ conversations: [] }));
    this.#put(conversations);
  }

  async loadMore() {
    if (this.#loading || this.#more.hidden) return;
    this.#loading = true;
    try {
      // The first page is here already; asked for again, it gives the cursor behind it.
      this.#cursor ??= (await this.#page(null)).next;
      const page = this.#cursor ? await this.#page(this.#cursor) : { conversations: [], next: null };
      this.#put(page.conversations);
      this.#cursor = page.next;
      this.#more.hidden = !page.next;
    } catch {
      // The button stays: pressing it tries again.
    } finally {
      this.#loading = false;
    }
  }

  rename(id, title) {
    const row = this.#find(id);
    if (!row) return;
    find("row-title", row).textContent = title;
    find("row-options", row).setAttribute("aria-label", t("list.options", { title }));
  }

  // Returns the id of the conversation that is in its place now, or null.
  remove(id) {
    const rows = all("row", this.#rows);
    const at = rows.findIndex(({ dataset }) => dataset.row === id);
    this.#redraw(() => rows[at]?.remove());
    return (rows[at + 1] ?? rows[at - 1])?.dataset.row ?? null;
  }

  // The button beside a conversation; for one that is not in the list, the link to a new chat.
  optionsOf(id) {
    const row = this.#find(id);
    return row ? find("row-options", row) : find("sidebar").querySelector(".llmapp-new");
  }

  titleOf(id) {
    const row = this.#find(id);
    return row ? find("row-title", row).textContent : t("list.untitled");
  }

  set current(id) {
    for (const link of this.#rows.querySelectorAll("a[aria-current]")) link.removeAttribute("aria-current");
    find("sidebar").querySelector(".llmapp-new").removeAttribute("aria-current");
    this.#find(id)?.querySelector("a").setAttribute("aria-current", "page");
  }

  // Internal

  #page(cursor) {
    const query = cursor ? `&cursor=${encodeURIComponent(cursor)}` : "";
    return get(`api/conversations/?limit=${config.firstConversations}${query}`);
  }

  #put(conversations) {
    this.#redraw(() => {
      for (const conversation of conversations) this.#putOne(conversation);
    });
  }

  #putOne({ id, title, updated_at: updated }) {
    const row = this.#find(id) ?? fromTemplate("conversation");
    row.dataset.row = id;
    row.dataset.updated = updated;
    row.querySelector("a").href = `${config.chat}${id}/`;
    this.#insert(row);
    this.rename(id, title || t("list.untitled"));
  }

  // A browser takes the focus away from what is moved in the document: whoever had it gets it back.
  #redraw(change) {
    const focused = this.#rows.contains(document.activeElement) ? document.activeElement : null;
    change();
    this.#group();
    if (focused?.isConnected && focused !== document.activeElement) focused.focus({ preventScroll: true });
    this.dispatchEvent(new Event("drawn"));
  }

  #find(id) {
    return all("row", this.#rows).find(({ dataset }) => dataset.row === id) ?? null;
  }

  #insert(row) {
    const rows = all("row", this.#rows);
    const at = rows.indexOf(row);
    if (at >= 0 && inOrder(rows[at - 1], row) && inOrder(row, rows[at + 1])) return;
    this.#rows.insertBefore(row, rows.find((other) => other !== row && !inOrder(other, row)) ?? null);
  }

  #group() {
    for (const heading of all("group", this.#rows)) heading.remove();
    let last = "";
    for (const row of all("row", this.#rows)) {
      const group = groupOf(new Date(row.dataset.updated));
      if (group !== last) row.before(heading(group));
      last = group;
    }
    find("list-empty").hidden = this.#rows.childElementCount > 0;
  }
}

// Whether one row may stand above another; there may be none above, or none below.
function inOrder(above, below) {
  return !above || !below || new Date(above.dataset.updated) >= new Date(below.dataset.updated);
}

function heading(text) {
  const item = element("li", "llmapp-group", text);
  item.dataset.group = "";
  return item;
}

function groupOf(moment) {
  const midnight = new Date().setHours(0, 0, 0, 0);
  if (moment >= midnight) return t("list.today");
  if (moment >= midnight - DAY) return t("list.yesterday");
  if (moment >= midnight - 6 * DAY) return t("list.week");
  const sameYear = moment.getFullYear() === new Date().getFullYear();
  return date(moment, sameYear ? { month: "long" } : { month: "long", year: "numeric" });
}
