// Looks after what no frame tells: sockets that are dead without knowing it, and, where there is no socket,
// workers and what others say.

import { get } from "./api.js";

// How often it looks.
const EVERY = 4 * 1000;
// An active run that says nothing for this long is asked after.
const QUIET = 20 * 1000;

export class Lookout {
  #page;
  #heardAt = performance.now();

  // `page` has `connection` (null in a new chat), `activeRuns`, `showWorker(bool)` and `catchUp()`.
  constructor(page) {
    this.#page = page;
    document.addEventListener("visibilitychange", () => this.#seen());
    window.addEventListener("pageshow", (event) => event.persisted && this.#page.connection?.restart());
    setInterval(() => this.#look(), EVERY);
    this.#look();
  }

  // Something came.
  heard() {
    this.#heardAt = performance.now();
  }

  // Internal

  get #isQuiet() {
    return performance.now() - this.#heardAt > QUIET;
  }

  #seen() {
    if (!document.hidden && this.#isQuiet) this.#page.connection?.restart();
  }

  async #look() {
    if (document.hidden) return;
    const state = this.#page.connection?.state ?? "none";
    if (state === "open") this.#askAfterQuietRuns();
    if (state === "fallback") this.#page.catchUp();
    if (state === "fallback" || state === "none") this.#askForWorkers();
  }

  async #askForWorkers() {
    const status = await get("api/status").catch(() => null);
    if (status) this.#page.showWorker(status.worker);
  }

  #askAfterQuietRuns() {
    if (!this.#isQuiet) return;
    this.heard();
    for (const run of this.#page.activeRuns) this.#askAfter(run);
  }

  async #askAfter(run) {
    const { seq } = run;
    const { status } = await get(`api/runs/${run.id}`).catch(() => ({}));
    if (status && status !== run.state.status && run.seq === seq) this.#page.connection.restart();
  }
}
