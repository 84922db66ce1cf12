// Says for a moment whether something worked, on the button that was pressed.

import { t } from "../config.js";
import { announce } from "./announcer.js";

const SHOWN = 1.6 * 1000;

export async function flash(button, work) {
  const label = button.querySelector("span");
  const use = button.querySelector("use");
  const before = { label: label?.textContent, icon: use.getAttribute("href") };
  if (button.dataset.flash) return;
  try {
    await work;
    button.dataset.flash = "done";
    use.setAttribute("href", "#llmapp-icon-check");
    if (label) label.textContent = t("copied");
    announce(t("copied"));
  } catch {
    button.dataset.flash = "failed";
    if (label) label.textContent = t("copy_failed");
    announce(t("copy_failed"));
  }
  setTimeout(() => {
    delete button.dataset.flash;
    use.setAttribute("href", before.icon);
    if (label) label.textContent = before.label;
  }, SHOWN);
}
