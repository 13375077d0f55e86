// Small parts that several views share.
import { UNREACHABLE, asProblem, get } from "./api.js";
import { count, t } from "./i18n.js";
import { Icon } from "./icons.js";
import { html, useEffect, useLayoutEffect, useRef, useState } from "./lib.js";

/** Statuses with which the same request is refused again. */
export const HOPELESS = [413, 415, 422];

/** What is shown of a problem: what happened, what the server says of it, and what helps.
 *  @param {{problem: Page.Problem, retry?: () => void}} props */
export function Trouble({ problem, retry }) {
  const unreachable = problem.slug === UNREACHABLE;
  const [first, ...others] = problem.errors ?? [];
  const isSaid = first && problem.detail.includes(first.reason ?? first.detail ?? ""); // then one of the two is enough
  const detail = isSaid && others.length > 0 ? "" : problem.detail;
  const errors = isSaid && others.length === 0 ? [] : (problem.errors ?? []);
  return html`<div class="trouble" role="alert">
    <${Icon} name="warn" />
    <div>
      <p><strong>${unreachable ? t.unreachable : problem.title || t.failed}</strong></p>
      ${(unreachable || detail) && html`<p>${unreachable ? t.unreachableMore : detail}</p>`}
      ${errors.length > 0 && html`<ul>${errors.map((each) => html`<li><code>${each.field}</code> ${each.reason ?? each.detail ?? ""}</li>`)}</ul>`}
      ${problem.retryAfter !== null && problem.retryAfter !== undefined && html`<p>${t.tryAgainIn(Math.ceil(problem.retryAfter))}</p>`}
      <p class="quiet">${problem.status ? `${problem.status} ${problem.slug}` : ""}${problem.requestId ? html` · <span class="id">${problem.requestId}</span>` : ""}</p>
      ${retry && !HOPELESS.includes(problem.status) && html`<button class="button" onClick=${retry}><${Icon} name="again" />${t.tryAgain}</button>`}
    </div>
  </div>`;
}

/**
 * A problem that is shown, and its setter, which makes one of whatever was thrown.
 * @returns {[Page.Problem | null, (thrown: unknown) => void]}
 */
export function useProblem() {
  const [problem, set] = useState(/** @type {Page.Problem | null} */ (null));
  return [problem, (thrown) => set(thrown === null ? null : asProblem(thrown))];
}

/**
 * A list that is fetched page by page. An answer that comes after another list was asked for is left out.
 * @template Item
 * @param {(after: string | null) => string} addressOf of the page behind a cursor; null: of the first
 * @param {unknown[]} of what the list depends on: it is fetched anew where that changes
 * @returns {Page.Pages<Item>}
 */
export function usePages(addressOf, of) {
  const [items, setItems] = useState(/** @type {Item[] | null} */ (null));
  const [cursor, setCursor] = useState(/** @type {string | null} */ (null));
  const [problem, setProblem] = useProblem();
  const latest = useRef("");
  const load = async (/** @type {string | null} */ after = null) => {
    const asked = addressOf(after);
    latest.current = asked;
    try {
      /** @type {Api.PageOut<Item>} */
      const page = await get(asked);
      if (latest.current !== asked) return;
      setItems((known) => (after && known ? [...known, ...page.items] : page.items));
      setCursor(page.next_cursor);
      setProblem(null);
    } catch (error) {
      if (latest.current === asked) setProblem(error);
    }
  };
  useEffect(() => void load(), of);
  return { items, setItems, cursor, problem, setProblem, load };
}

/** Bring the chosen link of a navigation into view where not all of them have room. @param {unknown[]} inputs */
export function useCurrentSeen(/** @type {unknown[]} */ inputs) {
  const frame = useRef(/** @type {HTMLElement | null} */ (null));
  useLayoutEffect(() => {
    const [nav, current] = [frame.current, frame.current?.querySelector("[aria-current]")];
    if (!nav || !(current instanceof HTMLElement)) return;
    nav.scrollLeft = current.offsetLeft - nav.offsetLeft - (nav.clientWidth - current.offsetWidth) / 2;
  }, inputs);
  return frame;
}

/** Three dots that wait. */
export const Waiting = ({ text = t.waiting }) => html`<p class="waiting"><span class="dots" aria-hidden="true"><i></i><i></i><i></i></span>${text}</p>`;

/** Call something on Escape, as long as the part is shown. @param {() => void} run */
export function useEscape(run) {
  useEffect(() => {
    const listen = (/** @type {KeyboardEvent} */ event) => {
      if (event.key === "Escape" && !event.defaultPrevented && !document.querySelector("dialog[open]")) {
        event.preventDefault();
        run();
      }
    };
    document.addEventListener("keydown", listen);
    return () => document.removeEventListener("keydown", listen);
  }, [run]);
}

/** Where a citation is, in a few words.
 *  @param {{title: string, heading: string | null, page: number | null, page_end?: number | null}} citation */
export function placeOf(citation) {
  const place = [];
  const heading = citation.heading?.split(" > ").pop();
  if (heading && heading !== citation.title) place.push(heading);
  if (citation.page) place.push(citation.page_end && citation.page_end !== citation.page ? t.pages(count(citation.page), count(citation.page_end)) : t.page(count(citation.page)));
  return place.join(" · ");
}

/** What a document's reader says of it. @param {{warnings: Api.WarningOut[]}} props */
export const Warnings = ({ warnings }) => html`<details class="warnings">
  <summary><${Icon} name="warn" />${t.nWarnings(warnings.length)}</summary>
  <ul>${warnings.map((each) => html`<li>${each.page ? `${t.page(each.page)}: ` : ""}${each.detail} <code>${each.kind}</code></li>`)}</ul>
</details>`;

/**
 * A dialog over the page. Escape, a click beside it and its closing call `onClose`; the focus goes back to where it was.
 * @param {{title: string, onClose: () => void, children?: Page.Shown}} props
 */
export function Dialog({ title, onClose, children }) {
  const frame = useRef(/** @type {HTMLDialogElement | null} */ (null));
  useLayoutEffect(() => {
    const before = document.activeElement;
    frame.current?.showModal();
    return () => before instanceof HTMLElement && before.isConnected && before.focus();
  }, []);
  return html`<dialog class="box" ref=${frame} aria-label=${title} onClose=${onClose} onClick=${(event) => event.target === frame.current && frame.current?.close()}>
    <div class="box-body">
      <header><h2 dir="auto">${title}</h2><button class="icon-button" type="button" title=${t.close} aria-label=${t.close} onClick=${() => frame.current?.close()}><${Icon} name="close" /></button></header>
      ${children}
    </div>
  </dialog>`;
}

/**
 * Ask before something is done. What went wrong is shown in it, and it stays open.
 * @param {{title: string, action: string, run: () => Promise<void>, onClose: () => void, danger?: boolean, typed?: string | null, children?: Page.Shown}} props
 *  typed: a name that has to be typed first; run: closes the dialog by itself once it has succeeded
 */
export function Confirm({ title, action, run, onClose, danger = false, typed = null, children }) {
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useProblem();
  const [text, setText] = useState("");
  const submit = async (/** @type {Event} */ event) => {
    event.preventDefault();
    if (busy || (typed !== null && text !== typed)) return;
    setBusy(true);
    setProblem(null);
    try {
      await run();
      onClose();
    } catch (error) {
      setProblem(error);
      setBusy(false);
    }
  };
  return html`<${Dialog} title=${title} onClose=${onClose}>
    <form class="stack" onSubmit=${submit}>
      ${children}
      ${typed !== null && html`<label>${t.typeName(typed)}<input autocomplete="off" autocapitalize="off" spellcheck="false" value=${text} onInput=${(event) => setText(event.currentTarget.value)} /></label>`}
      ${problem && html`<${Trouble} problem=${problem} />`}
      <p class="row"><button class=${`button ${danger ? "danger" : "primary"}`} disabled=${busy || (typed !== null && text !== typed)}>${action}</button><button class="button" type="button" onClick=${onClose}>${t.cancel}</button></p>
    </form>
  <//>`;
}

/** Call something now and again while the part is shown and the tab is seen. @param {() => void} run @param {number} ms @param {unknown[]} inputs */
export function useRepeated(run, ms, inputs) {
  useEffect(() => {
    run();
    const timer = setInterval(() => document.hidden || run(), ms);
    return () => clearInterval(timer);
  }, inputs);
}

/** Text in which signs that turn the direction of writing are shown by their numbers. @param {string} text */
export const unturned = (text) => text.replace(/[\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, (sign) => `\\u${sign.charCodeAt(0).toString(16)}`);
