// The messages of the conversation: questions, and the answers to them.

import { copy } from "../clipboard.js";
import { page } from "../html.js";
import { ACTIVE, textOf } from "../run_state.js";
import { Answer } from "./answer.js";
import { all, arrange, find, fromTemplate } from "./dom.js";
import { flash } from "./feedback.js";

export class Thread {
  #place;
  #runs;
  #answers = new Map(); // run -> Answer

  constructor(runs) {
    this.#place = find("thread-place");
    this.#runs = runs;
    this.#place.addEventListener("click", (event) => this.#clicked(event));
    this.#dress(all("run", this.#list));
  }

  get version() {
    return this.#list.dataset.thread;
  }

  // The runs that were active when the server rendered the page.
  get activeRuns() {
    return all("run", this.#list)
      .filter(({ dataset }) => ACTIVE.includes(dataset.status))
      .map(({ dataset }) => dataset.run);
  }

  // Show what was typed before the server has it.
  addQuestion({ id, text }, sending) {
    const article = fromTemplate("question");
    article.dataset.key = `m:${id}`;
    find("text", article).textContent = text;
    this.#list.append(article);
    find("empty")?.remove();
    this.#mark(article, sending);
    return article;
  }

  removeQuestion(id) {
    this.#article(`m:${id}`)?.remove();
  }

  // Return whether the server has this question.
  has(id) {
    return this.#article(`m:${id}`)?.dataset.state === "sent";
  }

  // Make room for a run behind its question. What stood there belonged to an earlier try.
  place(run) {
    if (this.#answers.has(run.id) || !run.state.question) return;
    const { id, text } = run.state.question;
    const question = this.#article(`m:${id}`) ?? this.addQuestion({ id, text }, false);
    this.#mark(question, false);
    if (this.#article(`r:${run.id}`)) return;
    while (question.nextElementSibling) question.nextElementSibling.remove();
    const article = fromTemplate("answer");
    article.dataset.key = `r:${run.id}`;
    article.dataset.run = run.id;
    question.after(article);
  }

  update(run) {
    this.place(run);
    this.answer(run.id)?.update(run.state);
  }

  answer(id) {
    const article = this.#article(`r:${id}`);
    if (!article) return null;
    if (this.#answers.get(id)?.article !== article) this.#answers.set(id, new Answer(article));
    return this.#answers.get(id);
  }

  // Take over what the server shows now, which is the end of the thread: what stands before that stays. So do unsent
  // questions and answers that are being written.
  reconcile(html) {
    const { body } = page(html);
    const fresh = find("thread", body);
    const earlier = this.#before(fresh.firstElementChild);
    const articles = [...fresh.children].map((article) => this.#keep(article));
    const unsent = [...this.#list.children].filter(({ dataset }) => dataset.state === "sending");
    const keys = new Set(articles.map(({ dataset }) => dataset.key));
    const rest = unsent.filter(({ dataset }) => !keys.has(dataset.key));
    arrange(this.#list, [...earlier, ...articles, ...rest]);
    this.#list.dataset.thread = fresh.dataset.thread;
    if (!earlier.length) this.#setEarlier(find("earlier", body));
    if (articles.length) find("empty")?.remove();
  }

  // The message before which the server has more to show; null when all are here.
  get earlier() {
    return find("earlier", this.#place)?.dataset.earlier ?? null;
  }

  // Put what the server shows of it above everything else. Returns the new articles, from the first to the last.
  prepend(html) {
    const { body } = page(html);
    const articles = [...find("thread", body).children].map((article) => document.adoptNode(article));
    this.#dress(articles);
    this.#list.prepend(...articles);
    this.#setEarlier(find("earlier", body));
    return articles;
  }

  // Internal

  get #list() {
    return find("thread", this.#place);
  }

  #article(key) {
    return [...this.#list.children].find(({ dataset }) => dataset.key === key) ?? null;
  }

  // What stands before an article of the server's, if it is here.
  #before(article) {
    const articles = [...this.#list.children];
    const at = articles.findIndex(({ dataset }) => dataset.key === article?.dataset.key);
    return articles.slice(0, Math.max(at, 0));
  }

  // The button stays the same one, and keeps the focus.
  #setEarlier(fresh) {
    const mine = find("earlier", this.#place);
    if (mine && fresh) mine.dataset.earlier = fresh.dataset.earlier;
    else if (mine) mine.remove();
    else if (fresh) this.#list.before(document.adoptNode(fresh));
  }

  // What the page follows itself it has at first hand, unless the server says that it is over.
  #keep(fresh) {
    const article = document.adoptNode(fresh);
    const mine = this.#article(article.dataset.key);
    this.#dress([article]);
    if (!mine) return article;
    const run = this.#runs.get(article.dataset.run);
    if (run && (run.state.end || ACTIVE.includes(article.dataset.status))) return mine;
    const same = mine.dataset.status === article.dataset.status && mine.dataset.state === article.dataset.state;
    return same ? mine : article;
  }

  #mark(article, sending) {
    article.dataset.state = sending ? "sending" : "sent";
    find("sending", article).hidden = !sending;
  }

  #dress(articles) {
    for (const article of articles) if (article.dataset.run) Answer.dress(article);
  }

  #clicked({ target }) {
    const button = target.closest("[data-copy]");
    if (button) flash(button, copy(this.#rawText(button.closest("[data-key]"))));
  }

  // Byte for byte what was written: from the run's events, or from the server's own copy.
  #rawText(article) {
    const run = this.#runs.get(article.dataset.run);
    if (run?.state.messages.length) return textOf(run.state);
    const holder = article.querySelector('script[type="application/json"]');
    if (!holder) return find("text", article).textContent;
    const raw = JSON.parse(holder.textContent);
    return Array.isArray(raw) ? raw.join("\n\n") : raw;
  }
}
