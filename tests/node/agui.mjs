// Talks to an agent's URL with the official AG-UI client, and prints what the client made of the answers.
//
//   node agui.mjs URL [--header "Name: value"]... [--thread ID] [--id MESSAGE_ID] --say TEXT [--say TEXT]...
//
// Each `--say` is one turn of the same thread; `--id` is the id of the first message. Prints one JSON object a turn:
//
//   {"accepted": bool, "error": text or null, "events": [types], "messages": [all of the thread]}
//
// `accepted` is false when the client's own checks refused an event, when the request was refused, and
// when the stream ended without a terminal event: the client itself takes that for a success.

import { randomUUID } from "node:crypto";
import { parseArgs } from "node:util";

import { HttpAgent } from "@ag-ui/client";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    header: { type: "string", multiple: true, default: [] },
    thread: { type: "string" },
    id: { type: "string" },
    say: { type: "string", multiple: true, default: [] },
  },
});

// It writes refusals to the console; standard output is for the result.
console.error = () => {};

const agent = new HttpAgent({
  url: positionals[0],
  threadId: values.thread ?? randomUUID(),
  headers: Object.fromEntries(values.header.map((header) => header.split(/:\s*/, 2))),
});

for (const [turn, text] of values.say.entries()) {
  const id = turn === 0 && values.id ? values.id : randomUUID();
  agent.addMessage({ id, role: "user", content: text });
  console.log(JSON.stringify(await run()));
}

async function run() {
  const events = [];
  let error = null;
  try {
    await agent.runAgent({ runId: randomUUID() }, { onEvent: ({ event }) => void events.push(event.type) });
  } catch (refusal) {
    error = refusal.message;
  }
  const ended = ["RUN_FINISHED", "RUN_ERROR"].includes(events.at(-1));
  return { accepted: error === null && ended, error, events, messages: agent.messages };
}
