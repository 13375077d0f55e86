// Questions and their answers: asked, streamed, stopped, taken up again after a dropped connection or a reload.
import { Problem, asProblem, follow, get, send } from "./api.js";
import { t } from "./i18n.js";
import { signal } from "./lib.js";
import { collection, go, options, remembers, said } from "./state.js";

/** @typedef {Page.Turn} Turn @typedef {Page.Signal<Turn>} TurnSignal */

/** The conversation that is shown: its turns, each a signal of a `Turn`, and its id once it has one. */
export const turns = signal(/** @type {TurnSignal[]} */ ([]));
export const conversation = signal(/** @type {string | null} */ (null));
/** Rises when the list of conversations should be read again. */
export const changed = signal(0);

const RUNNING = "footnote.running";
const STOPPED = "stream-stopped"; // how the server ends what was stopped, here or in another tab
const AT_ONCE = 10; // turns of a conversation that is opened; the earlier ones come a few a picture
const A_PICTURE = 2;
const SLOW = 8; // ms that showing some tokens may take before the next wait
const PAUSE = 200; // ms that they wait at the most
const SOON = 3000; // ms for which a question waits for what was stopped before it
const LONGEST = 30_000; // ms for which the id of a stopped answer is waited for
const LEFT = "left"; // why an answer is no longer read: it goes on, for who comes back
/** The answer that is read: what ends that, its connection, its stream's id once that is known, and what tells it.
 *  @typedef {{abort: AbortController, connection: AbortController, stream: string | null, opening: Promise<unknown> | null}} Reading
 *  @type {Reading | null} */
let reading = null;
/** Resolves when the server has stopped what was stopped last, or soon. @type {Promise<unknown>} */
let stopping = Promise.resolve();
let latest = 0;
let filling = 0;

/** @param {Partial<Turn>} known @returns {TurnSignal} */
const turnOf = (known) => signal({ id: `t${++latest}`, question: "", collection: collection.value, state: "asking", text: "", citations: null, done: null, problem: null, dropped: false, ...known });

/** Ask, as the page's options say; `instead` is a turn that this one takes the place of.
 *  @param {string} question @param {{instead?: TurnSignal | null}} options */
export async function ask(question, { instead = null } = {}) {
  stop();
  const turn = turnOf({ question });
  turns.value = instead ? turns.value.map((each) => (each === instead ? turn : each)) : [...turns.value, turn];
  /** @type {Page.Asked} */
  const body = { ...options.value, explain: true, collection: collection.value };
  if (!remembers.value) await run(turn, (signal) => send("POST", "/query/stream", { json: { ...body, question }, signal }));
  else {
    const chat = conversation.value ? { conversation_id: conversation.value } : {};
    if (conversation.value) delete body.collection; // it keeps its own
    await run(turn, (signal, wanted) => whenFree(() => send("POST", "/chat/stream", { json: { ...body, ...chat, message: question }, signal }), wanted));
  }
}

/** Ask again while the conversation's last answer is still being ended, and an answer is wanted.
 *  @param {() => Promise<Response>} ask @param {AbortSignal} wanted */
async function whenFree(ask, wanted) {
  for (let until = Date.now() + 25_000; ; ) {
    try {
      return await ask();
    } catch (error) {
      if (wanted.aborted || Date.now() > until || !(error instanceof Problem) || error.slug !== "conversation-busy") throw error;
      await pause(700);
      wanted.throwIfAborted();
    }
  }
}

const pause = (/** @type {number} */ ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Stop the answer that is being written: here at once, and its model on the server. */
export function stop() {
  if (!reading) return;
  reading.abort.abort();
  const stopped = end(reading).catch(() => {}); // it has ended, or does by itself
  stopping = Promise.race([stopped, pause(SOON)]);
}

/** Have the server end an answer, as soon as it has said the id of its stream. @param {Reading} ended */
async function end(ended) {
  try {
    await Promise.race([ended.opening, pause(LONGEST)]);
    if (ended.stream) await send("DELETE", `/streams/${ended.stream}`);
  } finally {
    ended.connection.abort();
  }
}

/** Open an answer's stream. What ends its reading is heard at once; a connection whose stream is not known yet stays open
 *  for `end`, as the model would go on without it.
 *  @param {Reading} mine @param {Open} open @returns {Promise<Response>} */
function opened(mine, open) {
  const { signal } = mine.abort;
  let isKnown = false;
  const opening = open(mine.connection.signal, signal).then((response) => {
    isKnown = true;
    mine.stream = response.headers.get("X-Stream-ID");
    return response;
  });
  mine.opening = opening;
  return new Promise((resolve, reject) => {
    opening.then(resolve, reject);
    signal.addEventListener("abort", () => {
      if (isKnown || signal.reason === LEFT) mine.connection.abort();
      reject(signal.reason);
    });
  });
}

/** @typedef {(connection: AbortSignal, wanted: AbortSignal) => Promise<Response>} Open `wanted`: whether anybody waits */

/** @param {TurnSignal} turn @param {Open} open */
async function run(turn, open) {
  const abort = new AbortController();
  /** @type {Reading} */
  const mine = (reading = { abort, connection: new AbortController(), stream: null, opening: null });
  const set = (/** @type {Partial<Turn>} */ patch) => (turn.value = { ...turn.value, ...patch });
  let pending = "";
  let waits = false;
  let took = 0;
  // tokens come faster than the screen is drawn: they are shown with the next picture; a long block takes longer to show,
  // and then the pause is longer, too, so that the page can be used meanwhile
  const flush = () => {
    waits = false;
    if (!pending) return;
    const begun = performance.now();
    set({ text: turn.value.text + pending, state: "streaming", dropped: false });
    pending = "";
    setTimeout(() => (took = performance.now() - begun));
  };
  const wait = () => {
    waits = true;
    if (document.hidden || took > SLOW) setTimeout(flush, document.hidden ? PAUSE : Math.min(PAUSE, 2 * took));
    else requestAnimationFrame(flush);
  };
  const onEvent = (/** @type {string} */ name, /** @type {any} */ data) => {
    if (name === "token") {
      pending += data.token;
      if (!waits) wait();
    } else if (name === "sources") {
      if (data.conversation_id) adopt(data.conversation_id);
      remember(turn.value, data.stream_id);
      set({ citations: data.citations, done: data, state: "streaming", dropped: false });
      said.value = t.found(t.nPassages(data.citations.length, data.citations.length));
    } else if (name === "reasoning" && data.retracts) {
      pending = "";
      set({ text: "" });
    } else if (name === "done") {
      flush();
      const cited = new Set(data.cited);
      const citations = (turn.value.citations ?? []).map((each) => ({ ...each, cited: cited.has(each.id) }));
      set({ state: "done", done: { ...turn.value.done, ...data }, citations, dropped: false });
      said.value = t.answered(cited.size);
    } else if (name === "error") {
      flush();
      const problem = new Problem(data, data.retry_after ?? null);
      if (problem.slug === STOPPED) set({ state: "stopped", dropped: false });
      else set({ state: "failed", problem, dropped: false });
    }
  };
  try {
    const begin = async () => {
      await stopping;
      abort.signal.throwIfAborted();
      return opened(mine, open);
    };
    await follow(begin, {
      signal: abort.signal,
      onEvent,
      onDropped: () => set({ dropped: true }),
      resume: (last) => (mine.stream ? send("GET", `/streams/${mine.stream}`, { headers: last ? { "Last-Event-ID": last } : {}, signal: abort.signal }) : null),
    });
  } catch (error) {
    flush();
    if (abort.signal.aborted) set({ state: "stopped", dropped: false });
    else set({ state: "failed", problem: asProblem(error), dropped: false });
  } finally {
    flush();
    if (reading === mine) {
      reading = null;
      if (abort.signal.reason !== LEFT) sessionStorage.removeItem(RUNNING);
    }
    changed.value++;
  }
}

/** @param {string} id */
function adopt(id) {
  conversation.value = id;
  go({ path: `/c/${encodeURIComponent(id)}` });
  changed.value++;
}

/** @param {Turn} turn @param {string} stream */
function remember(turn, stream) {
  sessionStorage.setItem(RUNNING, JSON.stringify({ stream, question: turn.question, collection: turn.collection, conversation: conversation.value }));
}

/** Begin anew. An answer that is being written in a conversation goes on for a while, for who comes back; `forgets`: none does.
 *  @param {{forgets?: boolean}} options */
export function clear({ forgets = reading !== null && conversation.value === null } = {}) {
  if (forgets) {
    stop();
    sessionStorage.removeItem(RUNNING);
  } else reading?.abort.abort(LEFT);
  cancelAnimationFrame(filling);
  turns.value = [];
  conversation.value = null;
}

/** Show a conversation. @param {string} id */
export async function show(id) {
  if (conversation.value === id) return;
  clear();
  conversation.value = id;
  /** @type {Page.Message[]} */
  const found = [];
  /** @type {string | null} */
  let cursor = null;
  do {
    /** @type {Omit<Api.ConversationMessagesOut, "messages"> & {messages: Omit<Page.Message, "collection">[]}} */
    const page = await get(`/conversations/${encodeURIComponent(id)}?limit=200${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`);
    found.push(...page.messages.map((each) => ({ ...each, collection: page.collection })));
    cursor = page.next_cursor;
  } while (cursor);
  if (conversation.value !== id) return;
  fill(paired(found));
  const last = turns.value.at(-1);
  if (last?.value.state !== "asking") return;
  const running = JSON.parse(sessionStorage.getItem(RUNNING) ?? "null");
  if (running?.conversation === id) await resume(running);
  else last.value = { ...last.value, state: "stopped" };
}

/** Show turns: the last ones at once, so that nobody waits for those that are out of sight. @param {TurnSignal[]} all */
function fill(all) {
  let left = CSS.supports("overflow-anchor", "auto") ? Math.max(0, all.length - AT_ONCE) : 0; // else the text would jump
  turns.value = all.slice(left);
  const earlier = () => {
    const from = Math.max(0, left - A_PICTURE);
    turns.value = [...all.slice(from, left), ...turns.value];
    left = from;
    if (left) filling = requestAnimationFrame(earlier);
  };
  if (left) filling = requestAnimationFrame(earlier);
}

/** Take up again what was being written when the page was left. */
export async function resumeAfterReload() {
  const running = JSON.parse(sessionStorage.getItem(RUNNING) ?? "null");
  if (running && !running.conversation && turns.value.length === 0) await resume(running);
}

/** @param {{stream: string, question: string, collection: string}} running */
async function resume({ stream, question, collection: of }) {
  const last = turns.value.at(-1);
  const turn = turnOf({ question, collection: of });
  turns.value = last && last.value.question === question ? [...turns.value.slice(0, -1), turn] : [...turns.value, turn];
  await run(turn, (signal) => send("GET", `/streams/${stream}`, { signal }));
}

/** What is shown of a turn, by its state on the server. @type {Record<Page.Message["state"], Turn["state"]>} */
const STATES = { running: "asking", complete: "done", stopped: "stopped", failed: "failed", abandoned: "failed" };

/** @param {Page.Message[]} messages */
function paired(messages) {
  /** @type {TurnSignal[]} */
  const made = [];
  for (const message of messages) {
    if (message.role === "user") {
      made.push(turnOf({ question: message.content, collection: message.collection }));
      continue;
    }
    const turn = made.at(-1);
    if (turn) {
      const { finish_reason, model, usage, generation, trace_id, standalone_question, id } = message;
      const state = STATES[message.state];
      const problem = state === "failed" ? new Problem({ title: t.brokenOff, type: message.problem ?? "" }) : null;
      turn.value = { ...turn.value, text: message.content, citations: message.citations, state, problem, done: { finish_reason, model, usage, generation, trace_id, standalone_question, message_id: id } };
    }
  }
  return made;
}
