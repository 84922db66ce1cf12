// The button at the bottom right of a site's own page, and the panel that it opens.
//
// It shares nothing with the page around it but the class names that begin with `llmapp-widget`.

// Narrower than this, the panel takes the whole screen, and nothing behind it can be reached.
const narrow = matchMedia("(max-width: 30rem)");

class Widget {
  #page;
  #button;
  #panel;
  #frame = null;

  constructor(root) {
    this.#page = root.dataset.llmappWidget;
    this.#button = root.querySelector(".llmapp-widget-button");
    this.#panel = root.querySelector("dialog");
    this.#button.addEventListener("click", () => (this.#panel.open ? this.#panel.close() : this.#open()));
    root.querySelector(".llmapp-widget-close").addEventListener("click", () => this.#panel.close());
    // A panel that is not modal does not close by itself.
    root.addEventListener("keydown", (event) => event.key === "Escape" && this.#panel.close());
    this.#panel.addEventListener("close", () => this.#closed());
    window.addEventListener("message", (event) => this.#said(event));
    root.hidden = false;
  }

  // Internal

  #open() {
    if (narrow.matches) this.#panel.showModal();
    else this.#panel.show();
    this.#button.ariaExpanded = "true";
    if (this.#frame) this.#focus();
    else this.#load();
  }

  // Only now: who never opens it loads nothing.
  #load() {
    this.#frame = document.createElement("iframe");
    this.#frame.name = "llmapp-widget";
    this.#frame.title = this.#panel.ariaLabel;
    this.#frame.src = this.#page;
    this.#frame.addEventListener("load", () => this.#panel.open && this.#focus());
    this.#panel.append(this.#frame);
  }

  #focus() {
    this.#frame.focus();
    this.#frame.contentWindow.postMessage("llmapp.focus", location.origin);
  }

  #said({ data, origin, source }) {
    const ours = origin === location.origin && source === this.#frame?.contentWindow;
    if (ours && data === "llmapp.close") this.#panel.close();
  }

  #closed() {
    this.#button.ariaExpanded = "false";
    this.#button.focus();
  }
}

for (const root of document.querySelectorAll("[data-llmapp-widget]")) new Widget(root);
