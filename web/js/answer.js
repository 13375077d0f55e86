// An answer: its sources, its text with footnotes, what can be done with it, and why it is as it is.
import { Problem, send } from "./api.js";
import { t } from "./i18n.js";
import { Icon } from "./icons.js";
import { html, signal, useEffect, useLayoutEffect, useRef, useState } from "./lib.js";
import { isMarkdown, isSheet } from "./formatted.js";
import { blocksOf, nodesOf } from "./markdown.js";
import { Trouble, Waiting, placeOf } from "./parts.js";
import { may, said, toast } from "./state.js";
import { flowing, quotedOf } from "./text.js";
import { ask } from "./turns.js";
import { openCitation } from "./viewer.js";
import { Why } from "./why.js";

/** The passage that is shown over the page: of which footnote, and whether it was opened by touch. */
const shown = signal(/** @type {null | {citation: Page.Citation, turn: Page.Signal<Page.Turn>, at: DOMRect, anchor: HTMLElement, touched: boolean}} */ (null));

/** @typedef {{turn: Page.Signal<Page.Turn>}} OfTurn */

/** @param {OfTurn} props */
export function Answer({ turn }) {
  const { question, state, text, citations, done, problem, dropped } = turn.value;
  const busy = state === "asking" || state === "streaming";
  return html`<article class="turn" aria-label=${question} aria-busy=${busy}>
    <h2 class="question" dir="auto"><span class="hidden">${t.you}: </span>${question}</h2>
    ${citations && citations.length > 0 && html`<${Sources} turn=${turn} citations=${citations} />`}
    ${text && html`<${Text} turn=${turn} />`}
    ${busy && html`<${Waiting} text=${dropped ? t.takenUp : citations === null ? t.searching : t.writing} />`}
    ${state === "stopped" && html`<p class="note">${t.stopped}</p>`}
    ${done?.finish_reason === "length" && html`<p class="note">${t.cutOff}</p>`}
    ${problem && html`<${Trouble} problem=${problem} retry=${() => ask(question, { instead: turn })} />`}
    ${!busy && !problem && html`<${Actions} turn=${turn} />`}
    ${state === "done" && html`<${Why} turn=${turn} onOpen=${open} />`}
  </article>`;
}

const LONG = 2000; // characters; code that is longer, and still grows, is coloured when it is whole

/** The answer's text. Blocks that did not change keep their nodes, so that focus and selection stay in a growing answer.
 *  @param {OfTurn} props */
function Text({ turn }) {
  const frame = useRef(/** @type {HTMLElement | null} */ (null));
  const kept = useRef(/** @type {{raw: string, plain: boolean, citations: Page.Citation[] | null, nodes: ChildNode[]}[]} */ ([]));
  const { text, citations, state } = turn.value;
  useLayoutEffect(() => {
    const known = new Map((citations ?? []).map((each) => [each.id, each]));
    const footnote = (/** @type {number} */ id) => {
      const citation = known.get(id);
      return citation ? footnoteButton(citation, turn) : null;
    };
    const blocks = blocksOf(text);
    const isPlain = (/** @type {number} */ place) => state === "streaming" && place === blocks.length - 1 && blocks[place].raw.length > LONG;
    let same = 0;
    while (same < blocks.length && same < kept.current.length && kept.current[same].raw === blocks[same].raw && kept.current[same].plain === isPlain(same) && kept.current[same].citations === citations) same++;
    for (const { nodes } of kept.current.slice(same)) for (const node of nodes) node.remove();
    const fresh = blocks.slice(same).map((block, place) => {
      const plain = isPlain(same + place);
      const made = nodesOf(block, footnote, plain);
      const nodes = [...made.childNodes];
      frame.current?.append(made);
      return { raw: block.raw, plain, citations, nodes };
    });
    kept.current = [...kept.current.slice(0, same), ...fresh];
  }, [text, citations, state]);
  return html`<div class="prose" dir="auto" ref=${frame}></div>`;
}

/** @param {Page.Citation} citation @param {Page.Signal<Page.Turn>} turn */
function footnoteButton(citation, turn) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "footnote";
  button.textContent = String(citation.id);
  button.setAttribute("aria-label", t.footnote(citation.id, citation.title));
  const show = (/** @type {boolean} */ touched) => (shown.value = { citation, turn, at: button.getBoundingClientRect(), anchor: button, touched });
  button.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && show(false));
  button.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && leave());
  button.addEventListener("focus", () => {
    if (!button.matches(":focus-visible")) return;
    show(false);
    said.value = citation.text.slice(0, 300);
  });
  button.addEventListener("blur", ({ relatedTarget: next }) => {
    if (next instanceof Element && !next.closest(".passage")) shown.value = null; // it would lie over what has the focus now
    else leave();
  });
  button.addEventListener("click", (event) => {
    if (event instanceof PointerEvent && event.pointerType === "touch") show(true);
    else open(citation, turn, button);
  });
  return button;
}

let leaving = 0;
function leave() {
  clearTimeout(leaving);
  leaving = setTimeout(() => (shown.value = null), 160);
}

/** @type {Page.Opening} */
function open(citation, turn, from) {
  if (!may("documents:read")) {
    shown.value = { citation, turn, at: from.getBoundingClientRect(), anchor: from, touched: true };
    return;
  }
  shown.value = null;
  openCitation(citation, { collection: turn.value.collection, quotes: quotedOf(turn.value.text, citation, numberOf(from)), from });
}

/** Tell which of a passage's footnotes in an answer a button is, from 0; null where it is none. @param {HTMLElement} button */
function numberOf(button) {
  const same = [...(button.closest(".prose")?.querySelectorAll(".footnote") ?? [])].filter((each) => each.textContent === button.textContent);
  return same.includes(button) ? same.indexOf(button) : null;
}

const GAP = 8;

/** The passage of the footnote that the pointer or the focus is on. */
export function Passage() {
  const frame = useRef(/** @type {HTMLElement | null} */ (null));
  const now = shown.value;
  useLayoutEffect(() => {
    if (!now || !frame.current) return;
    clearTimeout(leaving);
    const { style } = frame.current;
    style.maxHeight = "";
    const { width, height } = frame.current.getBoundingClientRect();
    const left = Math.max(12, Math.min(now.at.left + now.at.width / 2 - width / 2, innerWidth - width - 12));
    const [above, below] = [now.at.top - 2 * GAP, innerHeight - now.at.bottom - 2 * GAP]; // the footnote stays seen
    const isBelow = height <= below || below >= above;
    const shownHeight = Math.min(height, Math.max(above, below));
    style.left = `${left}px`;
    style.top = `${isBelow ? now.at.bottom + GAP : now.at.top - shownHeight - GAP}px`;
    style.maxHeight = `${isBelow ? below : above}px`;
  }, [now]);
  useLayoutEffect(() => {
    if (!now) return;
    // at once: Escape may be pressed before the next frame
    const key = (/** @type {KeyboardEvent} */ event) => event.key === "Escape" && (event.preventDefault(), (shown.value = null));
    document.addEventListener("keydown", key, true);
    return () => document.removeEventListener("keydown", key, true);
  }, [now]);
  useEffect(() => {
    if (!now) return;
    const away = (/** @type {Event} */ event) => !(event.target instanceof Node && frame.current?.contains(event.target)) && (shown.value = null);
    document.addEventListener("scroll", away, true);
    if (now.touched) document.addEventListener("pointerdown", away);
    return () => {
      document.removeEventListener("scroll", away, true);
      document.removeEventListener("pointerdown", away);
    };
  }, [now]);
  if (!now) return null;
  const { citation, turn } = now;
  const quotes = quotedOf(turn.value.text, citation, numberOf(now.anchor));
  return html`<div class="passage" role="group" aria-label=${t.footnote(citation.id, citation.title)} ref=${frame} onPointerEnter=${() => clearTimeout(leaving)} onPointerLeave=${leave}>
    <p class="passage-head"><span class="number">${citation.id}</span><strong>${citation.title}</strong></p>
    ${placeOf(citation) && html`<p class="quiet">${placeOf(citation)}</p>`}
    <blockquote dir="auto" tabindex="-1"><${Marked} text=${citation.text} source=${citation.source} start=${citation.start} quotes=${quotes} /></blockquote>
    ${may("documents:read") && html`<button class="link" tabindex="-1" onClick=${() => open(citation, turn, now.anchor)}>${t.openAtPlace}</button>`}
  </div>`;
}

const MUCH = 520;

const UNSEEN = "\0"; // no text has it
/** Put what is not shown in place of the signs around code and bold words: the text keeps its length. @param {string} text */
const unsigned = (text) =>
  text.replace(/(`+|\*\*)(?=\S)([^`*\n]+)\1/g, (_, sign, words) => UNSEEN.repeat(sign.length) + words + UNSEEN.repeat(sign.length));

/** Show rows of a Markdown table as their cells, and no more than one empty line. @param {string} text */
const plain = (text) => text.replaceAll(UNSEEN, "").replace(/^ *(```|~~~).*\n?/gm, "").replace(/^\|[ :|-]+\|(\n|$)/gm, "").replace(/^\| (.*) \|$/gm, (_, cells) => cells.split(" | ").join(" · ")).replace(/\n{3,}/g, "\n\n");

/** A passage's text with what is quoted of it marked; a long one begins near the first quote.
 *  @param {{text: string, source: string, start: number, quotes: Page.Stretch[]}} props */
function Marked({ text, source, start, quotes }) {
  const flown = isSheet(source) ? text : flowing(text);
  const points = [...(isMarkdown(source) ? unsigned(flown) : flown)];
  const between = (/** @type {number} */ from, /** @type {number} */ to) => plain(points.slice(from, to).join(""));
  const heading = /^(?:#{1,6} .*\n+)+/.exec(points.join("")); // it stands above
  let at = heading && heading[0].length < points.length ? [...heading[0]].length : 0;
  if (quotes.length && points.length > MUCH) {
    const near = Math.max(0, quotes[0].start - start - 140);
    if (near > at) at = near + 1 + points.slice(near).findIndex((sign) => /\s/.test(sign));
  }
  /** @type {Page.Shown[]} */
  const pieces = [at > 0 ? "… " : ""];
  const least = at + MUCH;
  for (const quote of quotes) {
    const [from, to] = [quote.start - start, quote.end - start];
    if (from < at) continue;
    pieces.push(between(at, from), html`<mark>${between(from, to)}</mark>`);
    at = to;
  }
  const end = Math.min(points.length, Math.max(at + 120, least));
  pieces.push(between(at, end).trimEnd(), end < points.length ? " …" : "");
  return pieces;
}

const FEW = 4;

/** @param {OfTurn & {citations: Page.Citation[]}} props */
function Sources({ turn, citations }) {
  const [all, setAll] = useState(false);
  const { state, done } = turn.value;
  const settled = state === "done";
  const cited = citations.filter((each) => each.cited);
  const first = settled && cited.length ? cited : citations;
  if (settled && done?.finish_reason === "no_context") return null; // nothing that was found answers it
  const list = all ? citations : first.slice(0, FEW);
  return html`<section class="sources" aria-label=${t.sources}>
    <ul>
      ${list.map((each) => html`<li key=${each.id}>
        <button class=${`source ${settled && !each.cited ? "uncited" : ""}`} title=${each.source} onClick=${(event) => open(each, turn, event.currentTarget)}>
          <span class="number">${each.id}</span>
          <span class="source-name"><b>${each.title}</b>${placeOf(each) && html`<small>${placeOf(each)}</small>`}</span>
        </button>
      </li>`)}
      ${citations.length > list.length || all ? html`<li><button class="source more" aria-expanded=${all} onClick=${() => setAll(!all)}>${all ? t.fewerSources : t.moreSources(citations.length - list.length)}</button></li>` : null}
    </ul>
  </section>`;
}

/** @param {OfTurn} props */
function Actions({ turn }) {
  const [rated, setRated] = useState(/** @type {"up" | "down" | null} */ (null));
  const [telling, setTelling] = useState(false);
  const { question, text, done, state } = turn.value;
  const rate = async (/** @type {"up" | "down"} */ rating, /** @type {string | undefined} */ comment = undefined) => {
    if (!done?.trace_id) return;
    setRated(rating);
    const cited = [...new Set((turn.value.citations ?? []).filter((each) => each.cited).map((each) => each.document_id))];
    const kept = done.message_id ? {} : { question, answer: text.slice(0, 32000), document_ids: cited.slice(0, 100), collection: turn.value.collection };
    /** @type {Api.FeedbackBody} */
    const json = { trace_id: done.trace_id, rating, ...kept, ...(comment ? { comment } : {}) };
    try {
      await send("POST", "/feedback", { json });
      if (rating === "up" || comment) toast(t.thanks);
    } catch (error) {
      setRated(null);
      toast(error instanceof Problem ? error.detail || error.title || t.failed : t.failed);
    }
  };
  const ratable = state === "done" && done?.trace_id && may("feedback");
  return html`<div class="actions">
      ${text && html`<button class="icon-button" title=${t.copy} aria-label=${t.copy} onClick=${() => copy(turn.value)}><${Icon} name="copy" /></button>`}
      <button class="icon-button" title=${t.again} aria-label=${t.again} onClick=${() => ask(question, { instead: turn })}><${Icon} name="again" /></button>
      ${ratable && html`
        <button class="icon-button" aria-pressed=${rated === "up"} title=${t.good} aria-label=${t.good} onClick=${() => (setTelling(false), rate("up"))}><${Icon} name="up" /></button>
        <button class="icon-button" aria-pressed=${rated === "down"} title=${t.bad} aria-label=${t.bad} onClick=${() => (setTelling(true), rate("down"))}><${Icon} name="down" /></button>`}
      ${done?.finish_reason === "extractive" && html`<span class="quiet">${t.extractive}</span>`}
      ${done?.cached && html`<span class="quiet">${t.fromCache}</span>`}
    </div>
    ${telling && html`<form class="telling" onSubmit=${(/** @type {Page.On<HTMLFormElement>} */ event) => {
      event.preventDefault();
      const comment = new FormData(event.currentTarget).get("comment");
      setTelling(false);
      if (comment) rate("down", String(comment));
    }}>
      <label><span class="hidden">${t.whatWasWrong}</span><input name="comment" maxlength="4000" placeholder=${t.whatWasWrong} /></label>
      <button class="button">${t.tell}</button>
    </form>`}`;
}

/** Copy an answer as text, with the passages that it cites below. @param {Page.Turn} turn */
async function copy({ text, citations }) {
  const cited = (citations ?? []).filter((each) => each.cited);
  const below = cited.map((each) => `[${each.id}] ${[each.title, placeOf(each), each.source].filter(Boolean).join(", ")}`);
  try {
    await navigator.clipboard.writeText([text.trim(), ...(below.length ? ["", ...below] : [])].join("\n"));
    toast(t.copied);
    said.value = t.copied;
  } catch {
    toast(t.notCopied);
  }
}
