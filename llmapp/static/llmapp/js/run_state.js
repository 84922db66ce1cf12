// What the events of a run add up to.
//
// The same fold as `core/transcript.py`; both are held to the fixtures in `tests/fixtures/events`.
// Pure: `apply(state, event)` returns the next state and changes nothing, so it needs no page to be tested.

import { unitsAt } from "./text.js";

export const ACTIVE = Object.freeze(["queued", "in_progress"]);

const OUTCOMES = { success: "completed", cancelled: "cancelled", interrupt: "requires_action" };

export const initialState = Object.freeze({
  status: "queued",
  reason: "",
  question: null, // what the person said: { id, text }
  messages: [], // what the run says: { id, text, open, blocks, html, covered }
  reasoning: [], // { id, text, open }
  openSteps: [],
  steps: 0, // started, in all executions
  notice: null, // what the recovery is doing: { kind, action, model, seconds, attempt, count }
  waiting: null, // in the queue, until its provider takes requests again: { kind, seconds }
  summarised: null, // how many messages a summary stood for in what the model was sent
  end: null, // { status, code, message, facts, seconds, cost, model, inputTokens, outputTokens }
});

export function apply(state, event) {
  const handler = handlers[event.type];
  return handler ? handler(state, event) : state;
}

export function isActive(state) {
  return ACTIVE.includes(state.status);
}

export function textOf(state) {
  return state.messages.map((message) => message.text).join("\n\n");
}

const handlers = {
  RUN_STARTED(state, event) {
    const [message] = event.input?.messages ?? [];
    return { ...state, question: message ? { id: message.id, text: message.content ?? "" } : null };
  },

  STEP_STARTED(state, event) {
    return { ...state, steps: state.steps + 1, openSteps: [...state.openSteps, event.stepName] };
  },

  STEP_FINISHED(state, event) {
    const at = state.openSteps.indexOf(event.stepName);
    return { ...state, openSteps: state.openSteps.filter((_, index) => index !== at) };
  },

  TEXT_MESSAGE_START(state, event) {
    return { ...state, notice: null, messages: put(state.messages, newMessage(event.messageId)) };
  },

  TEXT_MESSAGE_CONTENT(state, event) {
    const messages = change(state.messages, event.messageId, (message) => ({ text: message.text + event.delta }));
    return { ...state, notice: null, messages };
  },

  TEXT_MESSAGE_END(state, event) {
    return { ...state, messages: change(state.messages, event.messageId, () => ({ open: false })) };
  },

  REASONING_MESSAGE_START(state, event) {
    return { ...state, notice: null, reasoning: put(state.reasoning, { id: event.messageId, text: "", open: true }) };
  },

  REASONING_MESSAGE_CONTENT(state, event) {
    const reasoning = change(state.reasoning, event.messageId, (part) => ({ text: part.text + event.delta }));
    return { ...state, notice: null, reasoning };
  },

  REASONING_MESSAGE_END(state, event) {
    return { ...state, reasoning: change(state.reasoning, event.messageId, () => ({ open: false })) };
  },

  // Replaces what is held. A message that is not in it was withdrawn.
  MESSAGES_SNAPSHOT(state, event) {
    const kept = new Map(event.messages.map((message) => [message.id, message.content ?? ""]));
    const messages = state.messages
      .filter((message) => kept.has(message.id))
      .map((message) => withText(message, kept.get(message.id)));
    return { ...state, messages };
  },

  CUSTOM(state, event) {
    const handler = customHandlers[event.name];
    return handler ? handler(state, event.value) : state;
  },

  RUN_FINISHED(state, event) {
    const status = event.metadata?.["llmapp.status"] ?? OUTCOMES[event.outcome?.type] ?? "completed";
    return ended(state, event, { status, code: "", message: "" });
  },

  RUN_ERROR(state, event) {
    const status = event.metadata?.["llmapp.status"] ?? "failed";
    return ended(state, event, { status, code: event.code ?? "", message: event.message ?? "" });
  },
};

const customHandlers = {
  "llmapp.run"(state, { status, reason = "", kind = "", seconds = 0 }) {
    const waiting = status === "queued" && reason === "waiting" ? { kind, seconds } : null;
    return { ...state, status, reason, waiting, notice: null };
  },

  "llmapp.notice"(state, notice) {
    const before = notice.action === "SwitchModel" ? null : state.summarised;
    const summarised = notice.action === "Compress" && notice.count > 0 ? notice.count : before;
    return { ...state, notice, summarised };
  },

  // Blocks come in order; one that is not settled stands in for the end until the next one comes.
  "llmapp.block"(state, { messageId, mode, html, end, settled }) {
    const messages = change(state.messages, messageId, (message) => {
      const blocks = message.blocks.filter((block) => block.settled);
      const covered = { points: end, units: unitsAt(message.text, end, message.covered) };
      return { blocks: [...blocks, { mode, html, settled }], covered };
    });
    return { ...state, messages };
  },

  "llmapp.render"(state, { messageId, html }) {
    const messages = change(state.messages, messageId, (message) => ({
      html,
      covered: { points: Infinity, units: message.text.length },
    }));
    return { ...state, messages };
  },
};

function newMessage(id) {
  return { id, text: "", open: true, blocks: [], html: null, covered: { points: 0, units: 0 } };
}

function withText(message, text) {
  return text === message.text ? message : { ...newMessage(message.id), text, open: message.open };
}

function put(list, item) {
  const known = list.some(({ id }) => id === item.id);
  return known ? list.map((old) => (old.id === item.id ? item : old)) : [...list, item];
}

function change(list, id, changes) {
  return list.map((item) => (item.id === id ? { ...item, ...changes(item) } : item));
}

function ended(state, event, { status, code, message }) {
  const facts = event.metadata ?? {};
  const end = {
    status,
    code,
    message,
    facts: facts["llmapp.facts"] ?? {},
    seconds: facts["llmapp.seconds"] ?? null,
    cost: facts["llmapp.cost"] ?? null,
    model: facts["llmapp.model"] ?? "",
    inputTokens: total(event.usage, "inputTokens"),
    outputTokens: total(event.usage, "outputTokens"),
  };
  const messages = state.messages.map((one) => (one.open ? { ...one, open: false } : one));
  const summarised = facts["llmapp.summarised"] ?? state.summarised;
  return { ...state, status, messages, notice: null, waiting: null, summarised, end };
}

// Unknown is not zero: a count that one entry lacks is not known for the whole.
function total(usage, key) {
  if (!usage?.length || usage.some((entry) => entry[key] == null)) return null;
  return usage.reduce((sum, entry) => sum + entry[key], 0);
}
