// A heading over each block of code: its language, and a button that copies it.

import { t } from "../config.js";
import { copy } from "../clipboard.js";
import { element, icon } from "./dom.js";
import { flash } from "./feedback.js";

// Safe to call again: a block that has its heading is left alone.
export function dressCode(root) {
  for (const block of root.querySelectorAll(".llmapp-code:not(:has(> .llmapp-code-head))")) {
    block.prepend(head(block));
  }
}

function head(block) {
  const bar = element("div", "llmapp-code-head");
  const button = element("button", "llmapp-code-copy");
  button.type = "button";
  button.append(icon("copy"), element("span", "", t("copy.code")));
  button.addEventListener("click", () => flash(button, copy(codeOf(block))));
  bar.append(element("span", "llmapp-code-language", block.dataset.language ?? ""), button);
  return bar;
}

// The line break before the closing fence belongs to the fence: pasted into a terminal, it would run the command.
function codeOf(block) {
  return block.querySelector("pre > code").textContent.replace(/\n$/, "");
}
