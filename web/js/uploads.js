// What is on its way into a collection: sent, followed to the end of its job, tried again.
import { Problem, asProblem, follow, get, query, send } from "./api.js";
import { clock, count, inWords, t } from "./i18n.js";
import { Icon } from "./icons.js";
import { html, signal } from "./lib.js";
import { HOPELESS, Warnings } from "./parts.js";
import { collection, loadCollections, may } from "./state.js";

const AT_ONCE = 3; // of a browser's six connections to a server: uploads, and jobs that are watched
const MOST = 50; // that are shown at once, of a large folder
const TRIES = 20;
const SOON = 300;
const BUSY = ["overloaded", "rate-limited"];
const ENDED = ["succeeded", "failed", "cancelled"];

/** @typedef {Page.Upload} Upload @typedef {Partial<Upload> & {name: string}} Brought */

/** What is on its way, newest first. */
export const uploads = signal(/** @type {Upload[]} */ ([]));
/** Rises when something has arrived. */
export const arrived = signal(0);
let running = 0;
let latest = 0;
/** @type {Upload[]} */
const waiting = [];

/** Bring something. @param {Brought} known */
export function start(known) {
  startAll([known]);
}

/** Bring several things, in their order. @param {Brought[]} all */
export function startAll(all) {
  /** @type {Upload[]} */
  const entries = all.map((known) => ({ id: ++latest, state: "waiting", collection: collection.value, done: 0, total: null, problem: null, ...known }));
  uploads.value = [...entries.toReversed(), ...uploads.value];
  waiting.push(...entries);
  next();
}

/** @param {number} id @param {Partial<Upload>} patch */
const set = (id, patch) => (uploads.value = uploads.value.map((each) => (each.id === id ? { ...each, ...patch } : each)));

function next() {
  while (running < AT_ONCE) {
    const entry = waiting.shift();
    if (!entry) return;
    running++;
    through(entry)
      .catch((error) => set(entry.id, { state: "failed", problem: asProblem(error) }))
      .finally(() => {
        running--;
        next();
      });
  }
}

/** Send a document, if it is not a job already, and follow its job to the end. @param {Upload} entry */
async function through(entry) {
  const { id } = entry;
  let { job } = entry;
  if (!job) {
    set(id, { state: "sending" });
    job = (await (await patient(() => sent(entry))).json()).job_id;
    set(id, { state: "queued", job });
  }
  const abort = new AbortController();
  const open = () => patient(() => send("GET", `/jobs/${job}/events`, { signal: abort.signal }));
  await follow(open, {
    signal: abort.signal,
    resume: open,
    onEvent: (name, data) => {
      /** @type {Page.Job} */
      const { status, progress, result, error, next_try_at } = data;
      if (name === "error") set(id, { state: "failed", problem: new Problem(data) });
      else set(id, { state: status, done: progress.done, total: progress.total, outcome: result?.outcome, warnings: result?.warnings, delay: status === "queued" && error && next_try_at ? { why: error.detail || error.title || t.failed, until: next_try_at } : null });
    },
  });
  hasArrived();
}

let told = 0;
/** Let the lists be read again, once for what arrives together. */
function hasArrived() {
  clearTimeout(told);
  told = setTimeout(() => {
    arrived.value++;
    loadCollections().catch(() => {}); // only numbers are stale then
  }, SOON);
}

/** Ask again for a while where the server is busy: it has done nothing then. @param {() => Promise<Response>} ask @returns {Promise<Response>} */
async function patient(ask) {
  for (let tries = 1; ; tries++) {
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof Problem) || !BUSY.includes(error.slug) || tries > TRIES) throw error;
      await new Promise((resolve) => setTimeout(resolve, 1000 * Math.min(30, error.retryAfter ?? tries)));
    }
  }
}

/** Names in a document's metadata that Footnote gives, and takes from nobody. */
const OWN = ["title", "source", "heading", "page", "page_end", "chunk_index", "file_name", "attached_to", "readers"];

/** @param {Upload} entry */
function sent({ file, source, url, collection: to, replaces }) {
  if (url) return send("POST", "/documents", { json: { url, collection: to } });
  const form = new FormData();
  if (!file) throw new Problem({ title: t.failed });
  if (replaces) {
    // the server takes title and metadata from the request; the title is the new file's own
    const kept = Object.entries(replaces.metadata).filter(([name]) => !OWN.includes(name));
    if (kept.length) form.append("metadata", JSON.stringify(Object.fromEntries(kept)));
    form.append("file", file, file.name);
    return send("PUT", `/documents/${encodeURIComponent(replaces.id)}${query({ collection: to })}`, { form });
  }
  form.append("collection", to);
  if (source) form.append("source", source);
  form.append("file", file, file.name);
  return send("POST", "/documents", { form });
}

/** Try again what has failed. @param {Upload} entry */
async function again(entry) {
  if (entry.job) {
    try {
      await send("POST", `/jobs/${entry.job}/retry`);
    } catch (error) {
      set(entry.id, { problem: asProblem(error) });
      return;
    }
  }
  const state = entry.job ? "queued" : "waiting";
  set(entry.id, { state, problem: null });
  waiting.push({ ...entry, state, problem: null });
  next();
}

/** Watch jobs of the collection that run already. @param {string} here */
export async function takeUp(here) {
  for (const status of ["running", "queued"]) {
    try {
      /** @type {Api.PageOut<Page.Job>} */
      const page = await get(`/jobs${query({ collection: here, status, limit: 20 })}`);
      for (const job of page.items) if (job.kind !== "evaluate" && !uploads.value.some((each) => each.job === job.id)) start({ name: job.source ?? job.document_id ?? job.kind, job: job.id, state: job.status });
    } catch {
      return; // the list of documents says what is wrong
    }
  }
}

const isEnded = (/** @type {Upload} */ each) => ENDED.includes(each.state);

export function Uploads() {
  const all = uploads.value;
  if (all.length === 0) return null;
  const failed = all.filter((each) => each.state === "failed");
  const ended = all.filter(isEnded).length;
  const shown = all.length <= MOST ? all : [...all.filter((each) => !isEnded(each) && each.state !== "waiting"), ...failed, ...all.filter((each) => each.state === "waiting" || (isEnded(each) && each.state !== "failed"))].slice(0, MOST);
  return html`<section class="uploads" aria-label=${t.uploads}>
    <header>
      <h2>${ended < all.length ? t.uploads : t.uploadsOver}</h2>
      <span class="quiet" role="status">${all.length > 1 && t.uploadsDone(count(ended - failed.length), count(all.length), failed.length)}</span>
      <span class="space"></span>
      ${ended > 0 && html`<button class="link" onClick=${() => (uploads.value = uploads.value.filter((each) => !isEnded(each)))}>${t.clearDone}</button>`}
    </header>
    <ul aria-live=${all.length > 1 ? "off" : "polite"}>${shown.map((each) => html`<${UploadItem} key=${each.id} upload=${each} />`)}</ul>
    ${shown.length < all.length && html`<p class="quiet">${t.uploadsMore(count(all.length - shown.length))}</p>`}
  </section>`;
}

/** One that is on its way, as an item of a list. @param {{upload: Upload}} props */
export const UploadItem = ({ upload: each }) => html`<li class=${`is-${each.state}`}>
  <span class="upload-name" dir="auto">${each.name}</span>
  <span class="state">${each.state === "succeeded" ? html`<${Icon} name="check" />` : null}${each.state === "failed" ? html`<${Icon} name="warn" />` : null}${each.delay ? t.triedAgain(clock(each.delay.until)) : t.state[each.state]}${each.outcome ? ` · ${inWords(t.outcome, each.outcome)}` : ""}</span>
  ${(each.state === "sending" || each.state === "running") && html`<progress max=${each.total ?? 1} value=${each.total && each.done ? each.done : undefined} aria-label=${each.name}></progress>`}
  ${each.delay && html`<p class="wrong" dir="auto">${each.delay.why}</p>`}
  ${each.problem && html`<p class="wrong">${each.problem.errors[0]?.reason || each.problem.detail || each.problem.title || t.unreachable}${may("documents:write") && !HOPELESS.includes(each.problem.status) ? html` <button class="link" aria-label=${`${t.tryAgain}: ${each.name}`} onClick=${() => again(each)}>${t.tryAgain}</button>` : ""}</p>`}
  ${each.warnings && each.warnings.length > 0 && html`<${Warnings} warnings=${each.warnings} />`}
</li>`;
