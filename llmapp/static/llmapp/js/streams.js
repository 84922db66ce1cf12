// The way without a websocket: what the page asks goes out as HTTP requests, events come back as
// server-sent events. It speaks the same frames as the websocket.

import { ApiError, NetworkError, post, request } from "./api.js";
import { delayBefore } from "./backoff.js";
import { EventDecoder } from "./sse.js";
import { uuid4 } from "./uuid.js";

export class Streams {
  #agent;
  #conversation;
  #frame;
  #reachable;
  #open = new Map(); // run -> AbortController
  #runIds = new Map(); // client message id -> run id, so that a repeated send is the same run

  // `frame(frame)` takes what comes in; `reachable(bool)` hears whether the server answers.
  constructor({ agent, conversation, frame, reachable }) {
    this.#agent = agent;
    this.#conversation = conversation;
    this.#frame = frame;
    this.#reachable = reachable;
  }

  send(frame) {
    this.#outgoing[frame.type](frame);
    return true;
  }

  close() {
    for (const controller of this.#open.values()) controller.abort();
    this.#open.clear();
  }

  // Frames, named by their type

  #outgoing = {
    send: ({ id, text }) => this.#start(id, text),
    subscribe: ({ run, after }) => this.#subscribe(run, after),
    stop: ({ run }) => this.#ask(`api/runs/${run}/stop`, { run }),
    retry: async ({ run }) => {
      const answer = await this.#ask(`api/runs/${run}/retry`, { run });
      if (answer) this.#subscribe(answer.run, 0);
    },
  };

  async #start(id, text) {
    if (!this.#runIds.has(id)) this.#runIds.set(id, uuid4());
    const run = this.#runIds.get(id);
    const body = {
      threadId: this.#conversation,
      runId: run,
      messages: [{ id, role: "user", content: text }],
      tools: [],
      context: [],
      state: {},
      forwardedProps: {},
    };
    try {
      await this.#read(run, 0, "POST", `api/agents/${this.#agent}/runs`, body);
    } catch (error) {
      this.#failed(error, { id });
    }
  }

  async #subscribe(run, after) {
    let attempt = 0;
    this.#open.get(run)?.abort();
    while (true) {
      try {
        return await this.#read(run, after, "GET", `api/runs/${run}/events?after=${after}`);
      } catch (error) {
        if (!(error instanceof NetworkError)) return this.#failed(error, { run });
        this.#reachable(false);
        after = error.last ?? after;
        await new Promise((resolve) => setTimeout(resolve, delayBefore(attempt)));
        attempt += 1;
      }
    }
  }

  // Internal

  async #ask(path, about) {
    try {
      const answer = await post(path);
      this.#reachable(true);
      return answer ?? {};
    } catch (error) {
      this.#failed(error, about);
      return null;
    }
  }

  async #read(run, after, method, path, body) {
    const controller = new AbortController();
    this.#open.set(run, controller);
    const reading = { run, last: after };
    try {
      const response = await request(method, path, {
        body,
        signal: controller.signal,
        headers: { Accept: "text/event-stream" },
      });
      this.#reachable(true);
      await this.#events(response.body, reading);
    } catch (error) {
      if (error.name === "AbortError") return;
      if (error instanceof ApiError) throw error;
      throw Object.assign(new NetworkError(error.message), { last: reading.last, started: reading.last > 0 });
    } finally {
      if (this.#open.get(run) === controller) this.#open.delete(run);
    }
  }

  async #events(body, reading) {
    const decoder = new EventDecoder();
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    let ended = false;
    for (let chunk = await reader.read(); !chunk.done; chunk = await reader.read()) {
      for (const { id, data } of decoder.decode(chunk.value)) {
        const event = JSON.parse(data);
        ended = event.type === "RUN_FINISHED" || event.type === "RUN_ERROR";
        if (event.name === "llmapp.reload") reading.last = -1;
        // The end of the reader's rights has no number: it is not in the log.
        if (Number(id) <= reading.last) throw new ApiError(401, event.code, event.message);
        reading.last = Number(id);
        // The run's own id: a repeated send is answered with the first run.
        if (event.type === "RUN_STARTED") reading.run = event.runId;
        this.#frame({ type: "event", run: reading.run, seq: reading.last, event });
      }
    }
    if (!ended) throw new NetworkError("the stream broke off");
  }

  #failed(error, about) {
    if (error instanceof ApiError) {
      const { code, message, status, retryAfter } = error;
      this.#frame({ type: "error", code, message, status, retryAfter, ...about });
    } else if (error.started) {
      this.#subscribe(this.#runIds.get(about.id), error.last);
    } else {
      this.#reachable(false);
      this.#frame({ type: "unsent", ...about });
    }
  }
}
