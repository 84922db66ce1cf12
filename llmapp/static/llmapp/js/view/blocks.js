// Puts the rendered pieces of one message together, as they come.
//
//   new     its elements are added to the body
//   items   the items of its list are added to the list that ends the body; what follows the list, to the body
//   rows    the same with the rows of its table, and the table that ends the body
//   code    its nodes are added to the code that ends the body
//
// A piece that is not settled stands in for the end: all that it added goes away when the next one comes.
// What no piece covers yet is shown as plain text at the end, at once.

import { fragment } from "../html.js";
import { element } from "./dom.js";

// Elements that the end of the text may be in, from the outside to the inside.
const HOLDERS = "p, li, ul, ol, blockquote, div, pre, pre > code, h3, h4, h5, h6, table, thead, tbody, tr, th, td";

export class Blocks {
  #body;
  #settled = 0;
  #open = null;
  #openNodes = [];
  #tail = null;
  #html = null;

  constructor(body) {
    this.#body = body;
  }

  show({ text, blocks, html, covered }) {
    if (html !== null) return this.#showWhole(html);
    if (blocks.length < this.#settled) this.#clear();
    this.#dropTail();
    this.#showBlocks(blocks);
    this.#showTail(text.slice(covered.units));
  }

  // Internal

  #showWhole(html) {
    if (this.#html === html) return;
    this.#html = html;
    this.#body.replaceChildren(fragment(html));
  }

  #clear() {
    this.#body.replaceChildren();
    this.#settled = 0;
    this.#open = null;
    this.#openNodes = [];
  }

  #showBlocks(blocks) {
    if (this.#open && blocks.at(-1) !== this.#open) this.#dropOpen();
    for (const block of blocks.slice(this.#settled)) {
      if (block === this.#open) return;
      const nodes = this.#add(block);
      if (block.settled) {
        this.#settled += 1;
      } else {
        this.#open = block;
        this.#openNodes = nodes;
      }
    }
  }

  #dropOpen() {
    for (const node of this.#openNodes) node.remove();
    this.#open = null;
    this.#openNodes = [];
  }

  #add({ mode, html }) {
    const piece = fragment(html);
    return this.#adding[mode](piece);
  }

  #adding = {
    new: (piece) => this.#append(this.#body, piece.childNodes),
    items: (piece) => {
      const list = this.#body.lastElementChild;
      const first = piece.firstElementChild;
      if (!list?.matches("ul, ol") || !first?.matches("ul, ol")) return this.#append(this.#body, piece.childNodes);
      first.remove();
      return [...this.#append(list, first.childNodes), ...this.#append(this.#body, piece.childNodes)];
    },
    rows: (piece) => {
      const rows = this.#body.lastElementChild?.querySelector("tbody");
      const first = piece.firstElementChild;
      if (!rows || !first?.matches(".llmapp-table")) return this.#append(this.#body, piece.childNodes);
      first.remove();
      const more = first.querySelector("tbody")?.childNodes ?? [];
      return [...this.#append(rows, more), ...this.#append(this.#body, piece.childNodes)];
    },
    code: (piece) => {
      const code = this.#body.lastElementChild?.querySelector("code");
      return this.#append(code ?? this.#body, piece.childNodes);
    },
  };

  #append(place, nodes) {
    const added = [...nodes];
    place.append(...added);
    return added;
  }

  #dropTail() {
    this.#tail?.remove();
    this.#tail = null;
  }

  #showTail(raw) {
    const text = raw.replace(/^[\r\n]+/, "");
    if (!text.trim()) return;
    const place = this.#open && !/\n\s*\n/.test(raw) ? this.#writing() : null;
    if (place?.matches("td, th")) this.#tail = element("span", "llmapp-tail", raw.split(/[|\n]/, 1)[0]);
    else this.#tail = element(place ? "span" : "p", "llmapp-tail", place ? raw : text);
    (place ?? this.#body).append(this.#tail);
  }

  // The element in which the text is being written right now.
  #writing() {
    let place = this.#body.lastElementChild;
    if (!place || place.matches(".llmapp-math, hr")) return null;
    for (let next = place; next?.matches(HOLDERS); next = next.lastElementChild) place = next;
    return place.matches("ul, ol, blockquote, div, pre, table, tbody, thead, tr") ? null : place;
  }
}
