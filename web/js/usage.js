// What language models have used by day, and how the budgets stand.
import { get, query } from "./api.js";
import { Bars } from "./charts.js";
import { count, inWords, money, t, whenDay } from "./i18n.js";
import { html, useEffect, useState } from "./lib.js";
import { Trouble, Waiting, useProblem } from "./parts.js";
import { go, params } from "./state.js";

const DAY = 86_400_000;
/** @type {Record<string, number>} */
const SPANS = { 7: 7, 30: 30, 90: 90 };
const BY = /** @type {const} */ (["model", "collection", "subject"]);
/** @typedef {{of: (each: Api.UsageUsageOut) => number, format: (value: number) => string, bound: "tokens" | "usd" | null}} Unit */
/** What a bar may count, and the budget's member that bounds it. @type {Record<keyof typeof t.units, Unit>} */
const UNITS = {
  tokens: { of: (each) => each.total_tokens, format: count, bound: "tokens" },
  cost: { of: (each) => each.cost_usd, format: money, bound: "usd" },
  calls: { of: (each) => each.calls, format: count, bound: null },
};

const NAMES = /** @type {(keyof typeof UNITS)[]} */ (Object.keys(UNITS));

/** @param {number} moment */
const day = (moment) => new Date(moment).toISOString().slice(0, 10);

export function Usage() {
  const [found, setFound] = useState(/** @type {{days: Api.UsageUsageOut[], others: Record<string, Api.UsageUsageOut[]>} | null} */ (null));
  const [budgets, setBudgets] = useState(/** @type {Page.Budget[] | null} */ (null));
  const [problem, setProblem] = useProblem();
  const span = SPANS[params.value.get("days") ?? ""] ?? 30;
  const unit = NAMES.find((each) => each === params.value.get("unit")) ?? "tokens";
  const last = Date.now();
  const load = async () => {
    const asked = { from: day(last - (span - 1) * DAY), to: day(last) };
    try {
      /** @type {Api.PageOut<Api.UsageUsageOut>[]} */
      const [days, ...others] = await Promise.all(["day", ...BY].map((by) => get(`/usage${query({ ...asked, by, limit: 1000 })}`)));
      setFound({ days: days.items, others: Object.fromEntries(BY.map((by, at) => [by, others[at].items])) });
      setProblem(null);
    } catch (error) {
      setProblem(error);
    }
    try {
      /** @type {Page.Me} */
      const { limits } = await get("/me");
      setBudgets(limits.budgets ?? []);
    } catch {
      setBudgets([]); // the request above says what is wrong
    }
  };
  useEffect(() => {
    load();
  }, [span]);
  const { of, format, bound } = UNITS[unit];
  const known = new Map((found?.days ?? []).map((each) => [each.name, each]));
  const measured = (/** @type {Api.UsageUsageOut | undefined} */ each) => (each ? of(each) : 0);
  const rows = Array.from({ length: span }, (_, at) => day(last - (span - 1 - at) * DAY)).map((name) => ({ name: whenDay(name), value: measured(known.get(name)) }));
  const total = rows.reduce((sum, row) => sum + row.value, 0);
  const daily = bound ? (budgets?.find((each) => each.scope === "tenant" && each.period === "day")?.[bound] ?? null) : null;
  return html`<section class="stack" aria-labelledby="usage">
    <h2 id="usage">${t.usage}</h2>
    <div class="controls">
      <div class="segments" role="group" aria-label=${t.unit}>${NAMES.map((each) => html`<button aria-pressed=${each === unit} onClick=${() => go({ set: { unit: each === "tokens" ? null : each } })}>${t.units[each]}</button>`)}</div>
      <label>${t.span}<select value=${String(span)} onChange=${(event) => go({ set: { days: event.currentTarget.value === "30" ? null : event.currentTarget.value } })}>${Object.keys(SPANS).map((each) => html`<option value=${each} selected=${Number(each) === span}>${t.lastDays(each)}</option>`)}</select></label>
    </div>
    ${problem && html`<${Trouble} problem=${problem} retry=${load} />`}
    ${!found && !problem && html`<${Waiting} />`}
    ${found && html`
      <p><strong class="big">${format(total)}</strong> <span class="quiet">${t.usedIn[unit](span)}</span></p>
      <${Bars} label=${t.usageChart(t.units[unit], format(total), span)} rows=${rows} format=${format} heads=${[t.day, t.units[unit]]} bound=${daily} boundName=${daily === null ? "" : t.dailyBudget(format(daily))} />
      <${Budgets} budgets=${budgets} />
      ${BY.map((by) => html`<${Shares} key=${by} title=${t.usageBy[by]} items=${found.others[by]} of=${of} format=${format} />`)}`}
  </section>`;
}

/** @param {{budgets: Page.Budget[] | null}} props */
function Budgets({ budgets }) {
  if (budgets === null) return null;
  const bar = (/** @type {number} */ spent, /** @type {number | null} */ most, /** @type {string} */ shown) => most !== null && html`<div class="meter">
    <progress class=${spent >= most ? "full" : ""} max=${most || 1} value=${Math.min(spent, most)} aria-label=${shown}></progress><span class="figure">${shown}</span>
  </div>`;
  return html`<section><h3>${t.budgets}</h3>
    ${budgets.length === 0 && html`<p class="note">${t.noBudgets}</p>`}
    ${budgets.length > 0 && html`<ul class="cards">${budgets.map((each) => html`<li class="card" key=${`${each.scope} ${each.period}`}>
      <h4>${inWords(t.budgetOf, each.scope)} · ${inWords(t.period, each.period)}</h4>
      ${bar(each.spent_tokens, each.tokens, t.ofTokens(count(each.spent_tokens), count(each.tokens ?? 0)))}
      ${bar(each.spent_usd, each.usd, `${money(each.spent_usd)} / ${money(each.usd ?? 0)}`)}
      <p class="quiet">${t.renewsAt(whenDay(each.renews_at))}</p>
    </li>`)}</ul>`}
  </section>`;
}

/** @param {{title: string, items: Api.UsageUsageOut[]} & Pick<Unit, "of" | "format">} props */
function Shares({ title, items, of, format }) {
  const sorted = items.filter((each) => of(each) > 0).sort((one, other) => of(other) - of(one));
  if (sorted.length === 0) return null;
  const most = of(sorted[0]);
  return html`<section><h3>${title}</h3>
    <ul class="bars shares">${sorted.slice(0, 20).map((each) => html`<li key=${each.name}><span dir="auto">${each.name || t.ofNone}</span><span class="bar"><i style=${{ width: `${Math.max(1, (100 * of(each)) / most)}%` }}></i></span><span class="figure">${format(of(each))}</span></li>`)}</ul>
  </section>`;
}
