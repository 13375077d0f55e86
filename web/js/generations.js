// A collection's generations: which answers, how a build is doing, what its gate said; activating and going back.
import { get, query, send } from "./api.js";
import { Pairs } from "./charts.js";
import { count, languageName, size, t, when } from "./i18n.js";
import { Icon } from "./icons.js";
import { html, useState } from "./lib.js";
import { Confirm, Trouble, Waiting, useProblem, useRepeated } from "./parts.js";
import { loadCollections, may, said, toast } from "./state.js";

const EVERY = 4000;
const PAGE = 20;

/** @param {{about: Api.CollectionOut, onChange: () => void}} props */
export function Generations({ about, onChange }) {
  const [items, setItems] = useState(/** @type {Page.Generation[] | null} */ (null));
  const [cursor, setCursor] = useState(/** @type {string | null} */ (null));
  const [problem, setProblem] = useProblem();
  const [chosen, setChosen] = useState(/** @type {Page.Generation | null} */ (null));
  const base = `/collections/${encodeURIComponent(about.name)}`;
  const load = async (/** @type {string | null} */ after = null) => {
    try {
      /** @type {Api.PageOut<Page.Generation>} */
      const page = await get(`${base}/generations${query({ limit: PAGE, cursor: after })}`);
      setItems((known) => (after && known ? [...known, ...page.items] : known && known.length > PAGE ? merged(page.items, known) : page.items));
      if (after || !items || items.length <= PAGE) setCursor(page.next_cursor);
      setProblem(null);
    } catch (error) {
      setProblem(error);
    }
  };
  useRepeated(() => load(), EVERY, [about.name, about.generation, (items?.length ?? 0) > PAGE]);
  const active = items?.find((each) => each.state === "active");
  const activate = async () => {
    if (!chosen) return;
    /** @type {Api.ActivationOut} */
    const done = await (await send("POST", `${base}/activate`, { json: { generation: chosen.name } })).json();
    said.value = t.activated(done.generation);
    toast(done.job_id ? t.activatedCarries(done.generation) : t.activated(done.generation));
    await load();
    onChange();
    loadCollections().catch(() => {}); // only numbers are stale then
  };
  return html`<section class="generations" aria-labelledby="generations">
    <h2 id="generations">${t.generations}</h2>
    <p class="quiet">${t.generationsLead}</p>
    ${problem && html`<${Trouble} problem=${problem} retry=${() => load()} />`}
    ${items === null && !problem && html`<${Waiting} />`}
    <ol>${items?.map((each) => html`<li key=${each.name}><${Generation} generation=${each} active=${active} onChoose=${() => setChosen(each)} /></li>`)}</ol>
    ${cursor && html`<button class="button" onClick=${() => load(cursor)}>${t.earlier}</button>`}
    ${chosen && html`<${Confirm} title=${chosen.activated_at ? t.rollBackTo(chosen.name) : t.activateNow(chosen.name)} action=${chosen.activated_at ? t.rollBack : t.activate} run=${activate} onClose=${() => setChosen(null)}>
      <${WhatHappens} chosen=${chosen} active=${active} />
    <//>`}
  </section>`;
}

/** The first page as it is now, and behind it those that were known.
 *  @param {Page.Generation[]} first @param {Page.Generation[]} known */
const merged = (first, known) => [...first, ...known.filter((each) => Number(each.name) < Number(first.at(-1)?.name ?? 0))];

/** @param {{generation: Page.Generation, active?: Page.Generation, onChoose: () => void}} props */
function Generation({ generation: each, active, onChoose }) {
  const gate = each.report?.build?.gate;
  const kept = each.report?.build?.kept_because;
  const failed = each.report?.documents?.failed ?? 0;
  const expected = active?.documents ?? 0;
  return html`<article class=${`card generation is-${each.state}`}>
    <header>
      <h3>${t.generationNumber(each.name)}</h3>
      <span class=${`badge ${each.state === "active" ? "good" : each.state === "failed" ? "bad" : ""}`}>${t.generationState[each.state]}</span>
      <span class="space"></span>
      ${(each.state === "ready" || each.state === "retired") && may("collections:write") && html`<button class="button" aria-label=${`${each.activated_at ? t.rollBack : t.activate}: ${t.generationNumber(each.name)}`} onClick=${onChoose}><${Icon} name=${each.activated_at ? "again" : "check"} />${each.activated_at ? t.rollBack : t.activate}</button>`}
    </header>
    ${each.state === "building" && html`<div class="building" role="status">
      <progress max=${Math.max(expected, each.documents, 1)} value=${each.documents} aria-label=${t.buildProgress}></progress>
      <p class="quiet">${t.builtSoFar(count(each.documents), count(expected))}</p>
    </div>`}
    <dl class="facts">
      <dt>${t.documents}</dt><dd>${count(each.documents)} · ${t.nChunks(each.chunks, count(each.chunks))} · ${size(each.bytes)}</dd>
      <dt>${t.embeddingModel}</dt><dd>${each.embedding_model} · ${t.dimensions(count(each.dimension))}</dd>
      <dt>${t.chunking}</dt><dd>${t.chunkingSaid(count(each.chunk_tokens), count(each.chunk_overlap), languageName(each.language))}</dd>
      <dt>${t.since}</dt><dd>${times(each)}</dd>
      ${failed > 0 && html`<dt>${t.buildFailed}</dt><dd class="wrong">${t.nDocuments(failed, count(failed))}</dd>`}
      ${kept && kept !== gate?.reason && each.state === "ready" && html`<dt>${t.keptBecause}</dt><dd dir="auto">${kept}</dd>`}
    </dl>
    ${gate && html`<${Gate} gate=${gate} />`}
  </article>`;
}

/** @param {Page.Generation} each */
function times(each) {
  const said = [t.begunAt(when(each.created_at))];
  if (each.activated_at) said.push(t.answeredFrom(when(each.activated_at)));
  if (each.retired_at && each.state !== "active") said.push(t.answeredUntil(when(each.retired_at)));
  return said.join(" · ");
}

/** @param {{gate: Page.Gate}} props */
function Gate({ gate }) {
  const rows = [
    { name: `recall@${gate.k}`, before: gate.old.recall, after: gate.new.recall },
    { name: "MRR", before: gate.old.mrr, after: gate.new.mrr },
  ];
  return html`<section class="gate">
    <h4>${t.gate} <span class=${`badge ${gate.passed ? "good" : "bad"}`}>${gate.passed ? t.gatePassed : t.gateFailed}</span> <span class="quiet">${t.nQuestions(gate.questions, count(gate.questions))}</span></h4>
    ${gate.reason && html`<p class="wrong" dir="auto">${gate.reason}</p>`}
    <${Pairs} label=${rows.map((row) => t.gateChange(row.name, row.before.toFixed(3), row.after.toFixed(3))).join("; ")} rows=${rows} heads=${[t.measure, t.gateBefore, t.gateAfter]} />
  </section>`;
}

/** @param {{chosen: Page.Generation, active?: Page.Generation}} props */
function WhatHappens({ chosen, active }) {
  const same = active && active.embedding_model === chosen.embedding_model && active.dimension === chosen.dimension;
  const cut = active && active.chunk_tokens === chosen.chunk_tokens && active.chunk_overlap === chosen.chunk_overlap && active.language === chosen.language;
  const gate = chosen.report?.build?.gate;
  return html`<ul class="consequences">
    <li>${t.willAnswer(t.nDocuments(chosen.documents, count(chosen.documents)), t.nChunks(chosen.chunks, count(chosen.chunks)))}${active && chosen.documents !== active.documents ? ` ${t.insteadOf(count(active.documents))}` : ""}</li>
    <li>${same ? t.sameModel(chosen.embedding_model) : t.otherModel(active?.embedding_model ?? t.scoreNone, chosen.embedding_model)}</li>
    ${!cut && active && html`<li>${t.otherChunking(count(active.chunk_tokens), count(chosen.chunk_tokens), languageName(chosen.language))}</li>`}
    ${gate && !gate.passed && html`<li class="wrong">${t.gateSaysNo}</li>`}
    <li>${t.carriesOver}</li>
    ${active && html`<li>${t.staysAndBack(active.name)}</li>`}
  </ul>`;
}
