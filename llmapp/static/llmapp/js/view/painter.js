// Draws at most once a frame, however many events came.

export class Painter {
  #draw;
  #touched = new Set();
  #due = false;

  // `draw` takes what was touched since the last time.
  constructor(draw) {
    this.#draw = draw;
  }

  touch(thing) {
    this.#touched.add(thing);
    if (this.#due) return;
    this.#due = true;
    // A page that nobody sees gets no frames, and still has to be right when it is looked at.
    if (document.hidden) setTimeout(() => this.flush(), 100);
    else requestAnimationFrame(() => this.flush());
  }

  flush() {
    const touched = [...this.#touched];
    this.#touched.clear();
    this.#due = false;
    this.#draw(touched);
  }
}
