// The fold of a run's events, held to the same fixtures as `llmapp.core.transcript`.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { apply, initialState, isActive } from "../../llmapp/static/llmapp/js/run_state.js";

const FIXTURES = new URL("../fixtures/events/", import.meta.url);

for (const name of readdirSync(FIXTURES).sort()) {
  const { about, events, expect, page } = JSON.parse(readFileSync(new URL(name, FIXTURES), "utf8"));

  test(`${name}: ${about}`, () => {
    const state = events.reduce(apply, initialState);
    assert.deepEqual(texts(state.messages), expect.texts);
    assert.deepEqual(texts(state.reasoning), expect.reasoning);
    assert.deepEqual(open(state.messages), expect.open_texts);
    assert.deepEqual(open(state.reasoning), expect.open_reasoning);
    assert.deepEqual(state.openSteps, expect.open_steps);
    assert.equal(state.steps, expect.steps);
    assert.equal(state.end !== null, expect.ended);
    assert.equal(isActive(state), !expect.ended);
  });

  test(`${name}: what the page shows of it`, () => {
    const state = events.reduce(apply, initialState);
    assert.equal(state.status, page.status);
    assert.deepEqual(state.question, page.question);
    assert.deepEqual(state.end, page.end);
    assert.deepEqual(state.waiting, page.waiting ?? null);
    assert.equal(state.summarised, page.summarised ?? null);
    for (const message of state.messages) {
      if (page.blocks) assert.deepEqual(message.blocks.map((block) => block.html), page.blocks[message.id]);
      if (page.html) assert.equal(message.html, page.html[message.id]);
      assert.equal(message.covered.units, page.covered[message.id]);
    }
  });

  test(`${name}: applying changes nothing that was there`, () => {
    let state = initialState;
    for (const event of events) {
      const before = structuredClone(state);
      const next = apply(state, event);
      assert.deepEqual(state, before);
      state = next;
    }
  });
}

test("events of other vocabularies are passed over", () => {
  assert.equal(apply(initialState, { type: "STATE_DELTA" }), initialState);
  assert.equal(apply(initialState, { type: "CUSTOM", name: "someone.else", value: {} }), initialState);
});

test("a notice is gone as soon as something comes", () => {
  const notice = { type: "CUSTOM", name: "llmapp.notice", value: { kind: "overloaded", action: "wait", seconds: 2 } };
  const waiting = apply(initialState, notice);
  assert.deepEqual(waiting.notice, notice.value);
  const next = apply(waiting, { type: "TEXT_MESSAGE_START", messageId: "m" });
  assert.equal(next.notice, null);
});

function texts(parts) {
  return Object.fromEntries(parts.map(({ id, text }) => [id, text]));
}

function open(parts) {
  return parts.filter((part) => part.open).map(({ id }) => id);
}
