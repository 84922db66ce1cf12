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

// A line that ends a block of code.
const FENCE = /^ {0,3}(?:`{3,}|~{3,})[ \t]*$/m;

export class Blocks {
  #body;
  #settled = 0;
  #open = null;
  #openNodes = [];
  #tail = [];
  #html = null;

  constructor(body) {
    this.#body = body;
  }

  show({ text, blocks, html, covered }) {
    if (html !== null) return this.#showWhole(html);
    if (blocks.length < this.#settled) this.#clear();
    this.#dropTail();
    this.#showBlocks(blocks);
    this.#showTail(text.slice(covered.units), text[covered.units - 1]);
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
    for (const node of this.#tail) node.remove();
    this.#tail = [];
  }

  #showTail(raw, before = "") {
    // An open piece without nodes is marks that mean nothing yet: what follows them is not part of what stands there.
    const place = this.#openNodes.length || this.#open?.mode === "code" ? this.#writing() : null;
    if (place?.matches("code")) return this.#showCodeTail(place, raw);
    if (!place || /\n\s*\n/.test(raw)) this.#addTail(this.#body, "p", raw.replace(/^[\r\n]+/, ""));
    else if (place.matches("td, th")) this.#addTail(place, "span", raw.split(/[|\n]/, 1)[0]);
    // A rendered piece does not end in white space, which would join two words here.
    else this.#addTail(place, "span", /\s/.test(before) ? raw.replace(/^\s*/, " ") : raw);
  }

  // Blank lines are code, until a fence ends it.
  #showCodeTail(place, raw) {
    const end = raw.search(FENCE);
    this.#addTail(place, "span", end < 0 ? raw : raw.slice(0, end));
    if (end >= 0) this.#addTail(this.#body, "p", raw.slice(end).replace(FENCE, "").replace(/^[\r\n]+/, ""));
  }

  #addTail(place, tag, text) {
    if (!text.trim()) return;
    this.#tail.push(element(tag, "llmapp-tail", text));
    place.append(this.#tail.at(-1));
  }

  // The element in which the text is being written right now.
  #writing() {
    let place = this.#body.lastElementChild;
    if (!place || place.matches(".llmapp-math, hr")) return null;
    for (let next = place; next?.matches(HOLDERS); next = next.lastElementChild) place = next;
    return place.matches("ul, ol, blockquote, div, pre, table, tbody, thead, tr") ? null : place;
  }
}
