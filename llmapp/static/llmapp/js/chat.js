// The chat page. Here the pieces are wired together; what they do is in their own files.
//
//   composer  -> outbox -> connection -> server
//   server -> connection -> runs (apply) -> thread (DOM)

import { Composer } from "./composer.js";
import { config } from "./config.js";
import { Connection, socketUrl } from "./connection.js";
import { Conversation } from "./conversation.js";
import { Stored } from "./stored.js";
import { AgentPicker } from "./view/agent_picker.js";
import { Drawer } from "./view/drawer.js";
import { find } from "./view/dom.js";
import { Notices } from "./view/notices.js";
import { RowMenu } from "./view/row_menu.js";
import { Scroll } from "./view/scroll.js";
import { Sidebar } from "./view/sidebar.js";

const composer = new Composer(new Stored("draft", config.conversation));
const notices = new Notices();
const scroll = new Scroll();
const sidebar = new Sidebar();
const drawer = new Drawer();
const menu = new RowMenu(sidebar);
const picker = new AgentPicker(composer);
const conversation = new Conversation({ composer, notices, scroll, sidebar, picker, connect });

function connect(id, agent) {
  return new Connection({ socketUrl: socketUrl(id), agent, conversation: id });
}

menu.addEventListener("renamed", ({ detail: { id, title } }) => {
  if (id === conversation.id) conversation.title = title;
});

menu.addEventListener("deleted", ({ detail: { id } }) => {
  if (id === conversation.id) location.assign(config.chat);
});

document.addEventListener("keydown", (event) => {
  const elsewhere = document.querySelector("dialog[open], :popover-open") || drawer.isOpen;
  if (event.key !== "Escape" || event.isComposing || event.keyCode === 229 || elsewhere) return;
  conversation.stop();
});

find("empty")?.addEventListener("click", ({ target }) => {
  const prompt = target.closest("[data-prompt]")?.dataset.prompt;
  if (prompt) conversation.say(prompt);
});

conversation.open();
