// The page's way to the server: a websocket, and server-sent events where none can be opened.
//
// Events: "frame" with the server's frame, "state" with one of
//   connecting     nothing was open yet
//   open           the websocket is open
//   fallback       no websocket could be opened, HTTP answers
//   reconnecting   nothing answers; it is tried again
//   offline        the browser says that there is no network
//   closed         given up for good: `reason` is the close code

import { ApiError, get } from "./api.js";
import { delayBefore } from "./backoff.js";
import { config } from "./config.js";
import { Socket } from "./socket.js";
import { Streams } from "./streams.js";

// Behind the fallback, a websocket is tried again at this pace.
const SOCKET_AGAIN = 30 * 1000;
// Codes of the server that say: don't come back.
const FINAL = [4401, 4403, 4404];

export function socketUrl(id) {
  const url = new URL(`${config.sockets}${id}/`, location.href);
  url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  return url.href;
}

export class Connection extends EventTarget {
  #socketUrl;
  #streams;
  #socket = null;
  #attempts = 0;
  #timer = null;
  state = "connecting";

  constructor({ socketUrl, agent, conversation }) {
    super();
    this.#socketUrl = socketUrl;
    this.#streams = new Streams({
      agent,
      conversation,
      frame: (frame) => this.#emit("frame", frame),
      reachable: (yes) => this.#httpAnswers(yes),
    });
    window.addEventListener("online", () => this.restart());
    window.addEventListener("offline", () => this.#change("offline"));
  }

  open() {
    if (this.state === "closed") return;
    clearTimeout(this.#timer);
    this.#socket ??= new Socket(this.#socketUrl, {
      opened: () => this.#socketOpened(),
      frame: (frame) => this.#emit("frame", frame),
      closed: (how) => this.#socketClosed(how),
    });
  }

  // Come back with a new socket: the old one may be dead without knowing it.
  restart() {
    if (this.state === "closed") return;
    this.#socket?.close();
    this.#socket = null;
    this.#attempts = 0;
    if (this.state === "open") this.#change("reconnecting");
    this.open();
  }

  // Give up for good. `reason` is one of the server's close codes.
  close(reason) {
    clearTimeout(this.#timer);
    this.#socket?.close();
    this.#streams.close();
    this.#change("closed", reason);
  }

  // Return whether the frame was handed over. When not, it is the caller's to keep.
  send(frame) {
    if (this.state === "open") return this.#socket.send(frame);
    if (this.state === "fallback") return this.#streams.send(frame);
    return false;
  }

  // Start a conversation that the server does not know yet; no socket can be opened for it before.
  begin(frame) {
    this.#streams.send(frame);
  }

  // Internal

  #socketOpened() {
    this.#attempts = 0;
    this.#streams.close();
    this.#change("open");
  }

  #socketClosed({ code, opened }) {
    this.#socket = null;
    if (FINAL.includes(code)) return this.close(code);
    if (opened) {
      this.#attempts = 0;
      this.#change(navigator.onLine ? "reconnecting" : "offline");
    } else {
      this.#attempts += 1;
      this.#fallBack();
    }
    const pace = this.state === "fallback" ? SOCKET_AGAIN : delayBefore(this.#attempts);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.open(), pace);
  }

  // A page that never had a socket is behind something that refuses them; one that had may be
  // waiting for a server that restarts, so it looks twice, and asks first whether HTTP answers at all.
  async #fallBack() {
    if (!navigator.onLine) return this.#change("offline");
    if (this.state === "connecting") return this.#change("fallback");
    if (this.state === "reconnecting" && this.#attempts >= 2 && (await answers())) {
      if (this.state === "reconnecting") this.#change("fallback");
    }
  }

  #httpAnswers(yes) {
    if (!yes && this.state === "fallback") {
      this.#change(navigator.onLine ? "reconnecting" : "offline");
      this.#attempts = 0;
      this.open();
    }
  }

  #change(state, reason = null) {
    if (state === this.state || this.state === "closed") return;
    this.state = state;
    this.#emit("state", { state, reason });
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

// A proxy that says that nobody is behind it is no answer; a refusal is one.
async function answers() {
  try {
    await get("api/status");
    return true;
  } catch (error) {
    return error instanceof ApiError && error.status < 500;
  }
}
