// Which agent answers: chosen for a new chat, fixed from its first message on.
//
// Event: "chosen" with the agent's slug.

import { t } from "../config.js";
import { element, find } from "./dom.js";

export class AgentPicker extends EventTarget {
  #composer;
  #select = find("agents");

  constructor(composer) {
    super();
    this.#composer = composer;
    this.#select?.addEventListener("change", () => this.#changed());
  }

  fix() {
    if (!this.#select) return;
    const label = this.#select.closest("label");
    const fixed = element("span", "llmapp-picker");
    fixed.append(label.querySelector("svg"), this.#option.label);
    label.replaceWith(fixed);
    this.#select = null;
  }

  // Internal

  get #option() {
    return this.#select.selectedOptions[0];
  }

  #changed() {
    const { value, label, dataset } = this.#option;
    this.#composer.placeholder = t("message_to", { name: label });
    const description = find("agent-description");
    if (description) description.textContent = dataset.description;
    find("agent", document.querySelector('template[data-template="answer"]').content).textContent = label;
    this.#composer.focus();
    this.dispatchEvent(new CustomEvent("chosen", { detail: value }));
  }
}
