// Follows a probe: asks how far it is until it has ended, and writes the stages as they are reached, then what came back.

const PAUSE = 400; // milliseconds between two questions
const LONGEST_PAUSE = 5000; // when the site does not answer

const root = document.getElementById("llmapp-probe");
const over = (state) => state === "passed" || state === "failed";

if (root && !over(root.dataset.state)) follow(PAUSE);

function follow(pause) {
  setTimeout(async () => {
    try {
      const answer = await fetch(root.dataset.url, { headers: { Accept: "application/json" } });
      if (!answer.ok) throw new Error(answer.status);
      const state = await answer.json();
      show(state);
      if (!over(state.state)) follow(PAUSE);
    } catch {
      follow(Math.min(pause * 2, LONGEST_PAUSE));
    }
  }, pause);
}

function show(state) {
  root.dataset.state = state.state;
  const verdict = root.querySelector("[data-verdict]");
  // Written only when it changes: a screen reader says it each time.
  if (verdict.textContent !== state.message) verdict.textContent = state.message;
  root.querySelector("[data-stages]").replaceChildren(...state.stages.map(stage));
  if (state.outcome) root.querySelector("[data-outcome]").replaceChildren(...outcome(state.outcome));
}

// What came back to a request that was sent again.
function outcome({ facts, texts }) {
  const list = make("dl", "llmapp-facts");
  for (const [name, value] of facts) {
    const item = make("div", "");
    item.append(make("dt", "", name), make("dd", "", value));
    list.append(item);
  }
  return [list, ...texts.flatMap(([name, text]) => [make("h2", "llmapp-small", name), whole(text)])];
}

function whole(text) {
  const place = make("pre", "llmapp-sent-body", text);
  place.tabIndex = 0;
  return place;
}

function stage({ state, colour, word, title, took, message, detail }) {
  const item = make("li", "llmapp-stage");
  item.dataset.state = state;
  item.append(
    make("span", `llmapp-badge llmapp-${colour}`, word), " ",
    make("span", "llmapp-title", title), " ",
    make("span", "llmapp-took", took),
  );
  if (message) item.append(make("p", "", message));
  if (detail) item.append(make("p", "llmapp-detail", detail));
  return item;
}

function make(tag, className, text = "") {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text;
  return element;
}
