// One value of a conversation that outlives a reload, in this tab only: a draft, or a message on its way.

export class Stored {
  #key;

  constructor(name, conversation) {
    this.#key = `llmapp.${name}.${conversation ?? "new"}`;
  }

  get value() {
    return JSON.parse(sessionStorage.getItem(this.#key));
  }

  set value(value) {
    try {
      if (value) sessionStorage.setItem(this.#key, JSON.stringify(value));
      else sessionStorage.removeItem(this.#key);
    } catch {
      // Storage is full or switched off: the page still holds it.
    }
  }

  // The same value, under the name of a conversation that has got its id.
  movedTo(conversation) {
    const name = this.#key.split(".")[1];
    const moved = new Stored(name, conversation);
    moved.value = this.value;
    this.value = null;
    return moved;
  }
}
