// Golden questions: listed, written, changed, deleted, brought from a file and taken along in one.
import { Problem, query, send } from "./api.js";
import { DocumentPicker, TYPED } from "./document_picker.js";
import { count, inWords, t } from "./i18n.js";
import { Icon } from "./icons.js";
import { html, signal, useEffect, useRef, useState } from "./lib.js";
import { Trouble, Waiting, usePages, useProblem } from "./parts.js";
import { said, toast } from "./state.js";

const PAGE = 100;
const WAIT = 5000;

/** What the form shows: null, or a golden question; one with an `id` is changed, others are new. */
export const writing = signal(/** @type {null | {id?: string, golden: Page.Golden, titles?: Page.Titles}} */ (null));

/** @param {unknown} error */
export const told = (error) => (error instanceof Problem ? error.errors[0]?.reason || error.detail || error.title || t.failed : t.failed);

/** @param {{here: string}} props */
export function Golden({ here }) {
  const { items, setItems, cursor, problem, load } = /** @type {Page.Pages<Page.GoldenLine>} */ (usePages((after) => `/golden${query({ collection: here, limit: PAGE, cursor: after })}`, [here]));
  const [leaving, setLeaving] = useState(/** @type {Set<string>} */ (new Set()));
  const chooser = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => () => void (writing.value = null), [here]);
  const bring = async (/** @type {File | undefined} */ file) => {
    if (!file) return;
    try {
      const sent = await send("POST", `/golden/import${query({ collection: here })}`, { text: await file.text() });
      /** @type {Api.ImportedOut} */
      const { lines, added, missing, missing_documents } = await sent.json();
      const named = missing_documents.slice(0, 3).join(", ") + (missing > 3 ? " …" : "");
      const text = t.imported(count(added), count(lines)) + (missing ? ` ${t.importedMissing(missing, count(missing), named)}` : "");
      toast(text, missing ? { ms: 10_000 } : {});
      said.value = text;
      load();
    } catch (error) {
      toast(told(error), { ms: 10_000 });
    }
  };
  const take = async () => {
    const response = await send("GET", `/golden/export${query({ collection: here })}`);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await response.blob());
    link.download = `${here}.jsonl`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  };
  const remove = (/** @type {Page.GoldenLine} */ each) => {
    const set = (/** @type {(next: Set<string>) => void} */ change) => setLeaving((known) => { const next = new Set(known); change(next); return next; });
    set((next) => next.add(each.id));
    const timer = setTimeout(async () => {
      try {
        await send("DELETE", `/golden/${each.id}`);
        setItems((known) => known && known.filter((other) => other.id !== each.id));
      } catch (error) {
        toast(told(error));
      }
      set((next) => next.delete(each.id));
    }, WAIT);
    toast(t.willDelete(each.golden.question), { action: t.undo, run: () => (clearTimeout(timer), set((next) => next.delete(each.id))), ms: WAIT });
  };
  return html`
    <div class="tools">
      <button class="button primary" onClick=${() => (writing.value = { golden: {} })}><${Icon} name="plus" />${t.addGolden}</button>
      <button class="button" onClick=${() => chooser.current?.click()}><${Icon} name="upload" />${t.importGolden}</button>
      ${items && items.length > 0 && html`<button class="button" onClick=${() => take().catch((error) => toast(told(error)))}>${t.exportGolden}</button>`}
      <input class="hidden" type="file" accept=".jsonl,.ndjson,.json,.txt" tabindex="-1" aria-hidden="true" ref=${chooser} onChange=${(event) => (bring(event.currentTarget.files?.[0]), (event.currentTarget.value = ""))} />
    </div>
    ${writing.value && html`<${Writing} here=${here} onKept=${() => load()} />`}
    ${problem && html`<${Trouble} problem=${problem} retry=${() => load()} />`}
    ${items === null && !problem && html`<${Waiting} />`}
    ${items?.length === 0 && !writing.value && html`<div class="nothing"><${Icon} name="pencil" /><p><strong>${t.noGolden}</strong></p><p class="quiet">${t.noGoldenMore}</p></div>`}
    ${items && items.length > 0 && html`<ul class="entries">${items.map((each) => html`<li key=${each.id} class=${leaving.has(each.id) ? "leaving-card" : ""}>
      <div class="card-text">
        <p dir="auto"><strong>${each.golden.question}</strong></p>
        <p class="quiet" dir="auto">${expected(each)}</p>
      </div>
      <div class="card-actions">
        <button class="icon-button" title=${t.change} aria-label=${`${t.change}: ${each.golden.question}`} onClick=${() => (writing.value = { id: each.id, golden: each.golden, titles: titlesIn(each) })}><${Icon} name="pencil" /></button>
        <button class="icon-button" disabled=${leaving.has(each.id)} title=${t.delete} aria-label=${t.deleteNamed(each.golden.question)} onClick=${() => remove(each)}><${Icon} name="trash" /></button>
      </div>
    </li>`)}</ul>`}
    ${cursor && html`<button class="button" onClick=${() => load(cursor)}>${t.more}</button>`}`;
}

/** The titles of a golden question's documents. @param {Page.GoldenLine} line @returns {Page.Titles} */
const titlesIn = ({ golden, titles }) => Object.fromEntries((golden.documents ?? []).map((name) => [name, titles[name] ?? null]));

/** Say in a line what is right for a golden question. @param {Page.GoldenLine} line */
function expected({ golden: { unanswerable, documents = [], passages = [], answers = [], kind }, titles }) {
  const named = documents.slice(0, 3).map((each) => titles[each] ?? `${each} (${t.notThere})`);
  const parts = [
    ...(unanswerable ? [t.nothingIsRight] : []),
    ...(documents.length ? [named.join(", ") + (documents.length > 3 ? " …" : "")] : []),
    ...(answers.length ? [answers.map((each) => t.quoted(each)).join(", ")] : []),
    ...(passages.length ? [t.nPassages(passages.length, count(passages.length))] : []),
    ...(kind ? [inWords(t.goldenKind, kind)] : []),
  ];
  return parts.join(" · ") || t.nothingSaid;
}

const lines = (/** @type {FormDataEntryValue | null} */ text) => String(text ?? "").split("\n").map((each) => each.trim()).filter(Boolean);

/** The form of a golden question; what it has no field for (passages, grades, filters) stays as it is.
 *  @param {{here: string, onKept: () => void}} props */
export function Writing({ here, onKept }) {
  /** @type {{id?: string, golden: Page.Golden, titles?: Page.Titles}} */
  const { id, golden, titles: known } = writing.value ?? { golden: {} };
  const [problem, setProblem] = useProblem();
  const [none, setNone] = useState(Boolean(golden.unanswerable));
  const [names, setNames] = useState(golden.documents ?? []);
  const [titles, setTitles] = useState(known ?? {});
  const box = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => {
    setNone(Boolean(golden.unanswerable));
    setNames(golden.documents ?? []);
    setTitles(known ?? {});
    setProblem(null);
    const before = document.activeElement;
    box.current?.focus();
    return () => void (before instanceof HTMLElement && before.isConnected && before.focus());
  }, [writing.value]);
  const keep = async (/** @type {Page.On<HTMLFormElement>} */ event) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const documents = none ? [] : [...new Set([...names, ...lines(form.get(TYPED))])];
    const grades = Object.fromEntries(Object.entries(golden.grades ?? {}).filter(([name]) => documents.includes(name)));
    const answer = String(form.get("answer") ?? "").trim();
    if (!none && !documents.length && !answer && !lines(form.get("answers")).length && !golden.passages?.length) {
      setProblem(new Problem({ detail: t.saySomething }));
      return;
    }
    /** @type {Api.GoldenMembers} */
    const made = { ...golden, question: String(form.get("question")).trim(), documents, grades, answers: none ? [] : lines(form.get("answers")), passages: none ? [] : (golden.passages ?? []), unanswerable: none, answer: answer || null };
    try {
      await send(id ? "PUT" : "POST", id ? `/golden/${id}` : "/golden", { json: id ? made : { ...made, collection: here } });
      writing.value = null;
      toast(t.kept);
      said.value = t.kept;
      onKept();
    } catch (error) {
      setProblem(error);
    }
  };
  const choose = (/** @type {string[]} */ some, /** @type {Page.Titles} */ of) => {
    setNames(some);
    setTitles(of);
    setProblem(null);
  };
  return html`<form class="panel" aria-label=${id ? t.changeGolden : t.addGolden} onSubmit=${keep} key=${id ?? golden.question}>
    <h2>${id ? t.changeGolden : t.addGolden}</h2>
    <label>${t.goldenQuestion}<textarea name="question" rows="2" maxlength="8000" dir="auto" required ref=${box} defaultValue=${golden.question ?? ""}></textarea></label>
    <label class="check"><input type="checkbox" checked=${none} onChange=${(event) => setNone(event.currentTarget.checked)} /><span>${t.unanswerable}<small>${t.unanswerableHelp}</small></span></label>
    ${!none && html`
      <${DocumentPicker} here=${here} names=${names} titles=${titles} wrong=${problem?.errors[0]?.field === "documents"} onChange=${choose} />
      <label>${t.rightWords}<textarea name="answers" rows="2" dir="auto" defaultValue=${(golden.answers ?? []).join("\n")}></textarea><small>${t.rightWordsHelp}</small></label>`}
    <label>${t.referenceAnswer}<textarea name="answer" rows="2" maxlength="100000" dir="auto" defaultValue=${golden.answer ?? ""}></textarea><small>${t.referenceAnswerHelp}</small></label>
    ${problem && html`<p class="wrong" role="alert">${told(problem)}</p>`}
    <div class="tools"><button class="button primary">${t.save}</button><button type="button" class="button" onClick=${() => (writing.value = null)}>${t.cancel}</button></div>
  </form>`;
}
