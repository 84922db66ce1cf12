// Server-sent events, cut at every position.

import assert from "node:assert/strict";
import { test } from "node:test";
import { EventDecoder } from "../../llmapp/static/llmapp/js/sse.js";

const STREAM = ': hello\r\n\r\nid: 1\ndata: {"a": 1}\n\nid:2\r\ndata: two\r\ndata: lines\r\n\r\n: ping\n\nevent: x\nid: 3\ndata:\n\n';
const EVENTS = [
  { id: "1", data: '{"a": 1}' },
  { id: "2", data: "two\nlines" },
  { id: "3", data: "" },
];

test("a stream gives the same events wherever it is cut", () => {
  for (let cut = 0; cut <= STREAM.length; cut += 1) {
    const decoder = new EventDecoder();
    const events = [...decoder.decode(STREAM.slice(0, cut)), ...decoder.decode(STREAM.slice(cut))];
    assert.deepEqual(events, EVENTS, `cut at ${cut}`);
  }
});

test("an event that is not complete is kept back", () => {
  const decoder = new EventDecoder();
  assert.deepEqual(decoder.decode("data: a\n"), []);
  assert.deepEqual(decoder.decode("\n"), [{ id: "", data: "a" }]);
});
