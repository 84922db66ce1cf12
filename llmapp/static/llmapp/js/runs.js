// The runs that this page follows. Events are numbered: an old one is dropped, a missing one is noticed.
// `llmapp.reload` begins anew: the server lost the end of the log in a crash, and sends it from its start.

import { apply, initialState, isActive } from "./run_state.js";

export class Runs {
  #runs = new Map();

  // Start to follow a run, from its first event.
  follow(id) {
    if (!this.#runs.has(id)) this.#runs.set(id, { id, seq: 0, state: initialState, gapAt: null });
    return this.#runs.get(id);
  }

  get(id) {
    return this.#runs.get(id);
  }

  get active() {
    return [...this.#runs.values()].filter((run) => isActive(run.state));
  }

  forget(id) {
    this.#runs.delete(id);
  }

  // Return "new" when the event was taken, "old" when it is not wanted, "gap" when others are missing before it.
  take({ run: id, seq, event }) {
    if (event.name === "llmapp.reload" && this.get(id)) return this.#beginAnew(id);
    const run = event.type === "RUN_STARTED" ? this.follow(id) : this.get(id);
    if (!run || seq <= run.seq || run.state.end) return "old";
    if (seq > run.seq + 1 && !this.#isSnapshotOfAll(run, event)) return "gap";
    run.seq = seq;
    run.state = apply(run.state, event);
    return "new";
  }

  #beginAnew(id) {
    Object.assign(this.get(id), { seq: 0, state: initialState, gapAt: null });
    return "new";
  }

  // A log that was compacted, or has a hole, has one snapshot in the place of what is missing. A snapshot that comes over the
  // same gap twice is that one: after the first time, the page had asked for everything in between.
  #isSnapshotOfAll(run, event) {
    if (event.type !== "MESSAGES_SNAPSHOT") return false;
    const again = run.gapAt === run.seq;
    run.gapAt = run.seq;
    return again;
  }
}
