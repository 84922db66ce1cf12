// The chat of one agent, inside of another page: `chat.js` without the list.
//
// Between the pages of a site the conversation goes on: this tab remembers it. `?new` begins another one.
// With the page around it, `widget.js`, it exchanges two words: "llmapp.focus" comes, "llmapp.close" goes.

import { Composer } from "./composer.js";
import { config } from "./config.js";
import { Connection, socketUrl } from "./connection.js";
import { Conversation } from "./conversation.js";
import { Stored } from "./stored.js";
import { AgentPicker } from "./view/agent_picker.js";
import { find } from "./view/dom.js";
import { Notices } from "./view/notices.js";
import { Scroll } from "./view/scroll.js";

const remembered = new Stored("conversation", config.embedded);

// Stands where the chat page has its list.
class Alone {
  async refresh() {}

  titleOf() {
    return find("title").textContent;
  }

  set current(id) {
    remembered.value = id;
  }
}

// Return whether another conversation is on its way into this page.
function resumes() {
  if (config.conversation) return false;
  const asksForNew = new URLSearchParams(location.search).has("new");
  if (asksForNew || config.gone) remembered.value = null;
  const id = remembered.value;
  if (id) location.replace(`${config.page}${id}/`);
  return Boolean(id);
}

function begin() {
  // The page around has its own button to close this one.
  document.body.dataset.frame = window.name;
  const composer = new Composer(new Stored("draft", config.conversation ?? config.embedded));
  const conversation = new Conversation({
    composer,
    notices: new Notices(),
    scroll: new Scroll(),
    sidebar: new Alone(),
    picker: new AgentPicker(composer),
    connect: (id, agent) => new Connection({ socketUrl: socketUrl(id), agent, conversation: id }),
  });
  listen(composer, conversation);
  conversation.open();
}

function listen(composer, conversation) {
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.isComposing || event.keyCode === 229) return;
    if (composer.busy) conversation.stop();
    else parent.postMessage("llmapp.close", location.origin);
  });
  window.addEventListener("message", ({ data, origin, source }) => {
    if (data === "llmapp.focus" && origin === location.origin && source === parent) composer.focus();
  });
}

if (!resumes()) begin();
