// Decodes server-sent events from pieces of text, cut anywhere.

export class EventDecoder {
  #rest = "";
  #id = "";
  #data = [];

  // Return the events that `piece` completes: [{ id, data }].
  decode(piece) {
    const lines = (this.#rest + piece).split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop();
    return lines.map((line) => this.#line(line)).filter(Boolean);
  }

  #line(line) {
    if (line === "") return this.#dispatch();
    const [, field, value] = line.match(/^([^:]*)(?:: ?)?(.*)$/s);
    if (field === "data") this.#data.push(value);
    if (field === "id") this.#id = value;
    return null;
  }

  #dispatch() {
    if (!this.#data.length) return null;
    const event = { id: this.#id, data: this.#data.join("\n") };
    this.#data = [];
    return event;
  }
}
