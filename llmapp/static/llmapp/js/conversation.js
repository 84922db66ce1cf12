// The conversation that is open: what the person says goes out, what the runs say comes in.

import { config, number, t } from "./config.js";
import { Lookout } from "./lookout.js";
import { Outbox } from "./outbox.js";
import { ACTIVE, isActive } from "./run_state.js";
import { Runs } from "./runs.js";
import { Stored } from "./stored.js";
import { pointsIn } from "./text.js";
import { uuid4 } from "./uuid.js";
import { announce } from "./view/announcer.js";
import { find } from "./view/dom.js";
import { Earlier } from "./view/earlier.js";
import { Painter } from "./view/painter.js";
import { Thread } from "./view/thread.js";

// A run that is announced streams by itself; when nothing comes within this time, it is asked for.
const STARTS_WITHIN = 400;
// Time for the answer to a request for missing events.
const MENDS_WITHIN = 500;
// Close codes of the server, which say: don't come back.
const SIGNED_OUT = 4401;
const GONE = 4404;
// What they mean for a person; a visitor without an account was never signed in.
const FINAL = {
  [SIGNED_OUT]: config.visitor ? "connection.closed" : "connection.signed_out",
  [GONE]: "connection.deleted",
};

export class Conversation {
  #composer;
  #notices;
  #scroll;
  #sidebar;
  #picker;
  #connect;
  #connection = null;
  #runs = new Runs();
  #thread = new Thread(this.#runs);
  #outbox = new Outbox({
    stored: new Stored("sending", config.conversation ?? config.embedded),
    overdue: () => this.#connection?.restart(),
  });
  #painter = new Painter((runs) => this.#draw(runs));
  #lookout = null;
  #epoch = 0; // counts what happens here, so that an older answer of the server is not taken for the newest
  #agent = config.agent;
  id = config.conversation;

  constructor({ composer, notices, scroll, sidebar, picker, connect }) {
    this.#composer = composer;
    this.#notices = notices;
    this.#scroll = scroll;
    this.#sidebar = sidebar;
    this.#picker = picker;
    this.#connect = connect;
    composer.addEventListener("send", ({ detail }) => this.say(detail));
    composer.addEventListener("stop", () => this.stop());
    find("thread-place").addEventListener("click", (event) => this.#clicked(event));
    new Earlier({
      thread: this.#thread,
      scroll,
      load: (before) => this.#fetchThread({ before, thread: "" }),
      failed: () => notices.refuse(t("refused.other")),
    });
    picker.addEventListener("chosen", ({ detail }) => (this.#agent = detail));
  }

  open() {
    this.#pickUp();
    for (const run of this.#thread.activeRuns) this.#painter.touch(this.#runs.follow(run));
    this.#painter.flush();
    if (this.id) this.#join();
    this.#lookout = new Lookout(this);
  }

  // A message that was on its way when the page was left: the server has it, or it goes back into the box.
  #pickUp() {
    const { id, text } = this.#outbox.leftover ?? {};
    this.#outbox.dropLeftover();
    if (id && !this.#thread.has(id)) this.#composer.restore(text);
  }

  set title(title) {
    find("title").textContent = title;
    document.title = title;
  }

  // For the lookout

  get connection() {
    return this.#connection;
  }

  get activeRuns() {
    return this.#runs.active;
  }

  showWorker(present) {
    this.#notices.worker(present);
  }

  // What the person does

  say(text) {
    this.#notices.clearRefusal();
    const problem = this.#problemWith(text);
    if (problem) return this.#notices.refuse(problem);
    this.#epoch += 1;
    const message = this.#outbox.put(text);
    if (this.#composer.text === text) this.#composer.text = "";
    this.#thread.addQuestion(message, true);
    this.#composer.busy = true;
    this.#scroll.toLatest();
    this.#dispatch();
  }

  stop() {
    const [run] = this.#runs.active;
    if (!run && !this.#canSend) return this.#takeBack(this.#outbox.message?.id);
    if (!run) return;
    run.stopping = true;
    this.#composer.stopping();
    this.#thread.answer(run.id)?.note(t("answer.stopping"));
    this.#askToStop(run);
  }

  // Asked again on every connection until it has ended: the first time there may have been none.
  #askToStop(run) {
    if (run.stopping) this.#connection.send({ type: "stop", run: run.id });
  }

  #clicked({ target }) {
    const button = target.closest("[data-retry]");
    if (!button || this.#composer.busy) return;
    const { run } = button.closest("[data-run]").dataset;
    this.#notices.clearRefusal();
    if (!this.#connection?.send({ type: "retry", run })) return this.#notices.refuse(t("refused.network"));
    this.#composer.focus();
    button.disabled = true;
  }

  #problemWith(text) {
    if (!text.trim()) return t("refused.message_empty");
    if (this.#composer.busy) return t("refused.conversation_busy");
    if (this.#connection?.state === "closed") return t("connection.closed");
    if (text.length <= config.limit) return "";
    const values = { length: number(pointsIn(text)), limit: number(config.limit) };
    return pointsIn(text) > config.limit ? t("refused.message_too_long", values) : "";
  }

  // On the way out

  #dispatch() {
    const { id, text } = this.#outbox.message;
    const frame = { type: "send", id, text };
    if (!this.id) return this.#begin(frame);
    if (this.#connection.send(frame)) this.#outbox.handedOver();
  }

  get #canSend() {
    return ["open", "fallback"].includes(this.#connection?.state);
  }

  // The first message makes the conversation. It gets its address once the server has it.
  #begin(frame) {
    this.#connection ??= this.#listen(this.#connect(uuid4(), this.#agent));
    this.#connection.begin(frame);
  }

  #settle(conversation) {
    this.id = conversation;
    history.replaceState(null, "", `${config.page}${conversation}/`);
    this.#composer.belongsTo(conversation);
    this.#outbox.belongsTo(conversation);
    this.#picker.fix();
    this.#connection.open();
  }

  // The connection

  #join() {
    this.#connection = this.#listen(this.#connect(this.id, this.#agent));
    this.#connection.open();
  }

  #listen(connection) {
    connection.addEventListener("frame", ({ detail }) => this.#frame(detail));
    connection.addEventListener("state", ({ detail }) => this.#connectionIs(detail));
    return connection;
  }

  #connectionIs({ state, reason }) {
    const final = FINAL[reason] ?? "connection.closed";
    this.#notices.connection(state, state === "closed" ? t(final) : "");
    if (!this.#canSend) return;
    this.#lookout?.heard();
    for (const run of this.#runs.active) {
      this.#subscribe(run);
      this.#askToStop(run);
    }
    this.catchUp();
  }

  // What happened while nobody listened. Asked on every opening; the answer is mostly "nothing".
  async catchUp() {
    const epoch = this.#epoch;
    const html = await this.#fetchThread().catch(() => null);
    if (html && epoch !== this.#epoch) return this.catchUp();
    if (html) {
      this.#thread.reconcile(html);
      this.#adopt();
    }
    const message = this.#outbox.message;
    if (!message) return;
    if (this.#thread.has(message.id)) this.#accepted(message.id);
    else this.#dispatch();
  }

  // Return the newest messages, or null when they are those that are here; with `before`, those before a message.
  async #fetchThread(query = { thread: this.#thread.version }) {
    const response = await fetch(`${config.page}${this.id}/?${new URLSearchParams(query)}`, { redirect: "manual" });
    if (response.type === "opaqueredirect") this.#connection.close(SIGNED_OUT);
    if (response.status === 404) this.#connection.close(GONE);
    return response.status === 200 ? response.text() : null;
  }

  // Follow the runs that the server's page shows as active, and no others.
  #adopt() {
    const active = this.#thread.activeRuns;
    for (const run of this.#runs.active) if (!active.includes(run.id)) this.#runs.forget(run.id);
    for (const id of active) {
      const run = this.#runs.get(id) ?? this.#runs.follow(id);
      if (run.seq === 0) this.#subscribe(run);
      this.#painter.touch(run);
    }
    this.#updateBusy();
  }

  #subscribe(run) {
    this.#connection.send({ type: "subscribe", run: run.id, after: run.seq });
  }

  // Ask for what is missing; once, though every event after a gap shows it.
  #mend(run) {
    if (performance.now() - (run.mendedAt ?? -Infinity) < MENDS_WITHIN) return;
    run.mendedAt = performance.now();
    this.#subscribe(run);
  }

  // On the way in

  #frame(frame) {
    this.#lookout.heard();
    this.#frames[frame.type]?.(frame);
  }

  #frames = {
    event: (frame) => {
      const taken = this.#runs.take(frame);
      const run = this.#runs.get(frame.run);
      if (taken === "gap") return this.#mend(run);
      if (taken === "new") this.#changed(run, frame.event);
    },

    run: ({ run: id, status }) => {
      const run = this.#runs.get(id);
      if (run?.state.end) return;
      if (ACTIVE.includes(status)) this.#expect(this.#runs.follow(id));
      else if (run) this.#expect(run);
      else this.catchUp();
    },

    status: ({ worker }) => this.showWorker(worker),

    // The way over HTTP could not deliver; the message waits for a connection.
    unsent: ({ id }) => {
      if (this.id || !id) return;
      this.#takeBack(id);
      this.#notices.refuse(t("refused.network"));
    },

    error: (frame) => {
      if (frame.code === "not_found") this.#runs.forget(frame.run);
      this.#takeBack(frame.id);
      this.#enableRetry();
      if (frame.status === 401) this.#connection.close(SIGNED_OUT);
      else this.#notices.refuse(frame.message || t("refused.other"));
    },
  };

  #changed(run, event) {
    if (event.type === "RUN_STARTED" || run.state.end) this.#epoch += 1;
    if (event.type === "RUN_STARTED") this.#started(run, event);
    if (event.type === "TEXT_MESSAGE_START") announce(t("say.writing"));
    if (run.state.end) this.#ended(run);
    this.#painter.touch(run);
  }

  #started(run, event) {
    if (!this.id) this.#settle(event.threadId);
    if (run.state.question) this.#accepted(run.state.question.id);
    this.#refreshList();
  }

  #ended(run) {
    announce(t(run.state.status === "completed" ? "say.complete" : "say.ended"));
  }

  // A conversation that was used goes to the top; a new one has got its title from the server.
  async #refreshList() {
    await this.#sidebar.refresh();
    this.#sidebar.current = this.id;
    this.title = this.#sidebar.titleOf(this.id);
  }

  // Wait for a run's events; ask for them when they don't come by themselves.
  #expect(run) {
    const { seq } = run;
    this.#painter.touch(run);
    setTimeout(() => {
      if (isActive(run.state) && run.seq === seq) this.#subscribe(run);
    }, STARTS_WITHIN);
  }

  #accepted(id) {
    this.#outbox.take(id);
  }

  #takeBack(id) {
    const message = this.#outbox.take(id);
    if (!message) return;
    this.#thread.removeQuestion(id);
    this.#composer.restore(message.text);
    this.#updateBusy();
  }

  // What was refused can be tried again.
  #enableRetry() {
    for (const button of document.querySelectorAll("[data-retry]:disabled")) button.disabled = false;
  }

  // Drawing

  #draw(runs) {
    for (const run of runs) if (this.#runs.get(run.id) === run) this.#thread.update(run);
    this.#updateBusy();
  }

  #updateBusy() {
    this.#composer.busy = Boolean(this.#outbox.message) || this.#runs.active.length > 0;
  }
}
