// Why an answer is as it is: times, tokens, what was searched for, and what became of every passage that was found.
import { count, duration, inWords, score, t } from "./i18n.js";
import { html, useState } from "./lib.js";
import { placeOf } from "./parts.js";
import { may } from "./state.js";
import { openCitation } from "./viewer.js";

const KINDS = /** @type {const} */ (["dense", "lexical", "fused", "rerank"]);

/** @param {{turn: Page.Signal<Page.Turn>, onOpen: Page.Opening}} props */
export function Why({ turn, onOpen }) {
  const [wanted, setWanted] = useState(false);
  const { done, citations } = turn.value;
  if (!done) return null;
  const summary = html`<summary onClick=${() => setWanted(true)}>${t.why}</summary>`;
  if (!wanted) return html`<details class="why">${summary}</details>`; // of a long conversation nobody opens them all
  const { timings_ms: timings, usage, engine, rerank } = done;
  const standalone = done.standalone_question && done.standalone_question !== turn.value.question ? [done.standalone_question] : [];
  const searched = [...standalone, ...(engine?.queries ?? [])];
  const total = timings?.total ?? 0;
  return html`<details class="why" onToggle=${(/** @type {Page.On<HTMLDetailsElement>} */ event) => event.currentTarget.open && event.currentTarget.scrollIntoView({ block: "nearest" })}>
    ${summary}
    <dl>
      ${timings && html`<dt>${t.timings}</dt><dd><ul class="bars">${Object.entries(timings).filter(([name, ms]) => name === "total" || ms >= 0.5).map(([name, ms]) => html`<li key=${name}>
        <span>${inWords(t.timing, name)}</span><span class="bar"><i style=${{ width: `${total ? Math.max(1, (100 * ms) / total) : 0}%` }}></i></span><span class="figure">${duration(ms)}</span></li>`)}</ul></dd>`}
      ${usage && html`<dt>${t.tokens}</dt><dd>${t.tokensSaid(count(usage.prompt_tokens), count(usage.completion_tokens))}${usage.is_estimate ? ` (${t.estimated})` : ""}</dd>`}
      ${done.cost_usd !== null && done.cost_usd !== undefined && html`<dt>${t.cost}</dt><dd>$${done.cost_usd.toPrecision(3)}</dd>`}
      ${done.model && html`<dt>${t.model}</dt><dd>${inWords(t.modelName, done.model)}</dd>`}
      ${engine && html`<dt>${t.engine}</dt><dd>${inWords(t.modes, engine.name)}</dd>`}
      ${rerank && html`<dt>${t.rerank}</dt><dd>${rerank.applied ? t.rerankSaid(rerank.model, count(rerank.candidates)) : t.rerankNot(inWords(t.rerankReason, rerank.reason ?? ""))}</dd>`}
      ${searched.length > 0 && html`<dt>${t.searchedFor}</dt><dd>${searched.map((each) => html`<p dir="auto">${each}</p>`)}</dd>`}
      ${engine && engine.notes.length > 0 && html`<dt>${t.notes}</dt><dd>${engine.notes.map((each) => html`<p dir="auto">${each}</p>`)}</dd>`}
      ${done.generation && html`<dt>${t.generation}</dt><dd>${done.generation}</dd>`}
      ${done.trace_id && html`<dt>${t.trace}</dt><dd class="id">${done.trace_id}</dd>`}
    </dl>
    ${citations && citations.length > 0 && html`<${Passages} turn=${turn} citations=${citations} done=${done} onOpen=${onOpen} />`}
  </details>`;
}

/** @typedef {Omit<Api.CandidateOut, "score"> & {page_end?: number | null}} Row */

/** The passages with their scores and ranks, and what else was found; of an earlier answer only the passages are known.
 *  @param {{turn: Page.Signal<Page.Turn>, citations: Page.Citation[], done: Page.Done, onOpen: Page.Opening}} props */
function Passages({ turn, citations, done, onOpen }) {
  const { collection } = turn.value;
  const known = new Map(citations.map((each) => [/** @type {number | null} */ (each.id), each]));
  /** @type {Row[]} */
  const rows = done.explanation?.candidates ?? citations.map((each) => ({ ...each, outcome: "given", citation: each.id, ranks: {} }));
  const kinds = KINDS.filter((kind) => rows.some((each) => each.scores?.[kind] !== undefined));
  const dropped = rows.filter((each) => each.outcome !== "given");
  const more = dropped.length + (done.explanation?.omitted ?? 0);
  const openRow = (/** @type {Row} */ each, /** @type {HTMLElement} */ from) => {
    const citation = known.get(each.citation);
    if (citation && each.outcome === "given") onOpen(citation, turn, from);
    else openCitation(each, { collection, quotes: [], from });
  };
  const fate = (/** @type {Row} */ each) => {
    if (each.outcome === "given") return known.get(each.citation)?.cited ? t.cited : t.notCited;
    return t.outcome_of[each.outcome]?.(each.citation) ?? each.outcome; // a server may know more of them
  };
  return html`<div class="scroll" tabindex="0" role="region" aria-label=${t.passages}><table class="scores">
    <thead><tr><th scope="col">${t.passage}</th>${kinds.map((kind) => html`<th scope="col" class="figure">${t.scores[kind]}</th>`)}<th scope="col">${t.fate}</th></tr></thead>
    <tbody>${rows.map((each) => html`<tr key=${`${each.document_id}/${each.chunk_index}/${each.outcome}`} class=${each.outcome === "given" ? "" : "dropped"}>
      <th scope="row">${may("documents:read") || each.outcome === "given"
        ? html`<button class="link" onClick=${(event) => openRow(each, event.currentTarget)}>${each.outcome === "given" ? html`<span class="number">${each.citation}</span>` : html`<span class="number none" aria-hidden="true">–</span>`}${each.title}</button>`
        : each.title}<small>${placeOf(each)}</small></th>
      ${kinds.map((kind) => html`<td class="figure" data-name=${t.scores[kind]}>${each.scores?.[kind] === undefined ? t.scoreNone : score(each.scores[kind])}${each.ranks?.[kind] ? html`<small title=${t.rank(each.ranks[kind])}>${t.nth(count(each.ranks[kind]))}</small>` : ""}</td>`)}
      <td><small>${fate(each)}</small></td>
    </tr>`)}</tbody>
  </table></div>
  ${dropped.length > 0 && html`<p class="why-said quiet">${t.droppedSaid(more, count(more))}</p>`}`;
}
