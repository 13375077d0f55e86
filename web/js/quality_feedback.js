// What people think of answers; a thumb becomes a golden question.
import { query } from "./api.js";
import { titlesOf } from "./document_picker.js";
import { t, when } from "./i18n.js";
import { Icon } from "./icons.js";
import { html, useEffect } from "./lib.js";
import { Trouble, Waiting, usePages } from "./parts.js";
import { Writing, writing } from "./quality_golden.js";

/** @param {{here: string}} props */
export function Feedback({ here }) {
  const { items: all, cursor, problem, load } = /** @type {Page.Pages<Api.FeedbackOut>} */ (usePages((after) => `/feedback${query({ limit: 50, cursor: after })}`, [here]));
  const items = all && all.filter((each) => each.collection === null || each.collection === here);
  useEffect(() => () => void (writing.value = null), [here]);
  // of a good answer its documents are the right ones; of a bad one somebody has to say what is right
  const golden = async (/** @type {Api.FeedbackOut} */ each) => {
    const documents = each.rating === "up" ? (each.document_ids ?? []) : [];
    const answer = each.rating === "up" ? each.answer : undefined;
    const titles = await titlesOf(here, documents);
    writing.value = { golden: { question: each.question ?? undefined, kind: "feedback", documents, answer }, titles };
  };
  return html`
    ${writing.value && html`<${Writing} here=${here} onKept=${() => {}} />`}
    ${problem && html`<${Trouble} problem=${problem} retry=${() => load()} />`}
    ${items === null && !problem && html`<${Waiting} />`}
    ${items?.length === 0 && html`<div class="nothing"><${Icon} name="up" /><p><strong>${t.noFeedback}</strong></p><p class="quiet">${t.noFeedbackMore}</p></div>`}
    ${items && items.length > 0 && html`<ul class="entries">${items.map((each) => html`<li key=${each.id}>
      <span class=${`thumb is-${each.rating}`}><${Icon} name=${each.rating} /><span class="hidden">${each.rating === "up" ? t.good : t.bad}</span></span>
      <div class="card-text">
        <p dir="auto"><strong>${each.question ?? t.questionUnknown}</strong></p>
        ${each.answer && html`<p class="clamped" dir="auto">${each.answer}</p>`}
        ${each.comment && html`<p class="note" dir="auto">${each.comment}</p>`}
        <p class="quiet">${when(each.created_at)}</p>
      </div>
      <div class="card-actions">${each.question && html`<button class="button" aria-label=${`${t.toGolden}: ${each.question}`} onClick=${() => golden(each)}>${t.toGolden}</button>`}</div>
    </li>`)}</ul>`}
    ${cursor && html`<button class="button" onClick=${() => load(cursor)}>${t.more}</button>`}`;
}
