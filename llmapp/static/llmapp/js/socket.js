// One websocket: JSON frames in both directions.

const OPENS_WITHIN = 3 * 1000;

export class Socket {
  #socket;
  #opened = false;
  #finished = false;
  #timer;

  constructor(url, { opened, frame, closed }) {
    this.#socket = new WebSocket(url);
    this.#timer = setTimeout(() => this.#finish(closed, 0), OPENS_WITHIN);
    this.#socket.onopen = () => {
      if (this.#finished) return;
      clearTimeout(this.#timer);
      this.#opened = true;
      opened();
    };
    this.#socket.onmessage = ({ data }) => {
      if (!this.#finished) frame(JSON.parse(data));
    };
    this.#socket.onclose = ({ code }) => this.#finish(closed, code);
  }

  // Return whether the frame could be handed to the network.
  send(frame) {
    if (this.#finished || this.#socket.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(JSON.stringify(frame));
    return true;
  }

  close() {
    this.#finish(() => {}, 1000);
  }

  #finish(closed, code) {
    if (this.#finished) return;
    this.#finished = true;
    clearTimeout(this.#timer);
    this.#socket.close();
    closed({ code, opened: this.#opened });
  }
}
