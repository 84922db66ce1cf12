// Numbered events: what is taken, dropped and missed.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Runs } from "../../llmapp/static/llmapp/js/runs.js";

const started = { type: "RUN_STARTED", threadId: "t", runId: "r", input: { messages: [{ id: "q", content: "hi" }] } };
const begin = { type: "TEXT_MESSAGE_START", messageId: "m" };
const say = (delta) => ({ type: "TEXT_MESSAGE_CONTENT", messageId: "m", delta });
const end = { type: "RUN_FINISHED", outcome: { type: "success" } };
const snapshot = { type: "MESSAGES_SNAPSHOT", messages: [] };

function take(runs, ...entries) {
  return entries.map(([seq, event]) => runs.take({ run: "r", seq, event }));
}

test("every event is taken once, in order", () => {
  const runs = new Runs();
  const results = take(runs, [1, started], [2, begin], [2, begin], [3, say("a")], [1, started], [4, say("b")], [5, end]);
  assert.deepEqual(results, ["new", "new", "old", "new", "old", "new", "new"]);
  assert.equal(runs.get("r").state.messages[0].text, "ab");
  assert.deepEqual(runs.active, []);
});

test("an event after a gap is not taken, and what is asked for again closes it", () => {
  const runs = new Runs();
  take(runs, [1, started], [2, begin]);
  assert.deepEqual(take(runs, [4, say("b")], [3, say("a")], [4, say("b")]), ["gap", "new", "new"]);
  assert.equal(runs.get("r").state.messages[0].text, "ab");
});

test("the snapshot of a compacted log is taken when it comes over the same gap again", () => {
  const runs = new Runs();
  assert.deepEqual(take(runs, [1, started], [8, snapshot], [8, snapshot], [9, end]), ["new", "gap", "new", "new"]);
});

test("events of runs that nobody follows are dropped, and a start is followed", () => {
  const runs = new Runs();
  assert.deepEqual(take(runs, [2, begin], [1, started]), ["old", "new"]);
  assert.equal(runs.active.length, 1);
});

test("a run begins anew where the server says so, after its log lost its end", () => {
  const runs = new Runs();
  const reload = { type: "CUSTOM", name: "llmapp.reload", value: {} };
  take(runs, [1, started], [2, begin], [3, say("lost")]);
  const again = take(runs, [0, reload], [1, started], [2, begin], [3, say("kept")], [4, end]);
  assert.deepEqual(again, ["new", "new", "new", "new", "new"]);
  assert.equal(runs.get("r").state.messages[0].text, "kept");
});
