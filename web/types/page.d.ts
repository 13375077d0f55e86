// The page's own types, and what of the server's answers its description leaves open (api.d.ts).
declare namespace Page {
  type Problem = import("../js/api.js").Problem;
  type Nodes = import("../vendor/preact.js").Nodes;
  type Shown = Nodes | string | null;
  type Signal<T> = import("../vendor/signals.js").Signal<T>;
  /** An event that a handler of an element gets. */
  type On<Target extends Element = HTMLInputElement, Of extends Event = Event> = Of & { readonly currentTarget: Target };

  /** What a problem document says (RFC 9457); `dependencies`: of a server that is not ready. */
  interface Told {
    status?: number;
    type?: string;
    title?: string;
    detail?: string;
    request_id?: string;
    errors?: { field: string; reason?: string; detail?: string }[];
    retry_after?: number | null;
    dependencies?: Record<string, Api.DependencyOut>;
  }

  /** A list that is fetched page by page; `cursor`: of the next page, null behind the last one. */
  interface Pages<Item> {
    items: Item[] | null;
    setItems: (change: (known: Item[] | null) => Item[] | null) => void;
    cursor: string | null;
    problem: Problem | null;
    setProblem: (thrown: unknown) => void;
    load: (after?: string | null) => Promise<void>;
  }

  /** From one offset in a text to another, in code points. */
  interface Stretch {
    start: number;
    end: number;
  }

  /** The place that is open in a document: of a page, of a passage and of what is quoted of it. */
  interface Place {
    id: string;
    collection: string;
    page: number | null;
    start: number | null;
    end: number | null;
    quotes: Stretch[];
  }

  /** A citation; `cited` is not known before the answer is complete. */
  type Citation = Omit<Api.CitationOut, "cited"> & { cited?: boolean };
  type Usage = Pick<Api.AnswersUsageOut, "prompt_tokens" | "completion_tokens" | "is_estimate">;

  /** What is known of an answer beside its text: of the events `sources` and `done`, or of a conversation's message. */
  interface Done {
    finish_reason?: string | null;
    model?: string | null;
    usage?: Usage | null;
    cost_usd?: number | null;
    timings_ms?: Record<string, number>;
    engine?: Api.EngineOut | null;
    rerank?: Api.RerankOut | null;
    cached?: boolean;
    explanation?: Api.AnswersExplanationOut | null;
    generation?: string | null;
    trace_id?: string | null;
    stream_id?: string;
    standalone_question?: string | null;
    message_id?: string | null;
  }

  interface Turn {
    id: string;
    question: string;
    collection: string;
    state: "asking" | "streaming" | "done" | "stopped" | "failed";
    text: string;
    /** null until they are there */
    citations: Citation[] | null;
    done: Done | null;
    problem: Problem | null;
    /** whether the connection is being made anew */
    dropped: boolean;
  }

  type Opening = (citation: Citation, turn: Signal<Turn>, from: HTMLElement) => void;
  type Message = Omit<Api.MessageOut, "citations" | "usage"> & { citations: Citation[]; usage: Usage | null; collection: string };
  type Asked = Omit<Api.ChatBody, "message" | "conversation_id" | "mode" | "k"> & { mode: string; k: number };

  interface Gate {
    questions: number;
    k: number;
    old: { recall: number; mrr: number };
    new: { recall: number; mrr: number };
    passed: boolean;
    reason: string | null;
  }
  type Generation = Omit<Api.GenerationOut, "report"> & {
    report: { documents?: { failed?: number }; build?: { kept_because: string | null; gate: Gate | null } } | null;
  };

  type Job = Omit<Api.JobOut, "error" | "result"> & { error: Told | null; result: { outcome?: string; warnings?: Api.WarningOut[] } | null };

  /** What is on its way into a collection. */
  interface Upload {
    id: number;
    name: string;
    collection: string;
    state: "waiting" | "sending" | Api.JobOut["status"];
    file?: File;
    /** what citations will name; null: as the server says */
    source?: string | null;
    url?: string;
    /** the document that it takes the place of */
    replaces?: Pick<Api.DocumentOut, "id" | "metadata">;
    job?: string;
    problem: Problem | null;
    done: number;
    total: number | null;
    /** why its job failed, and when it is tried again */
    delay?: { why: string; until: string } | null;
    outcome?: string;
    warnings?: Api.WarningOut[];
  }

  type Golden = Partial<Api.GoldenMembers>;
  /** Titles of documents, by source or id; null: it is not there. */
  type Titles = Record<string, string | null>;
  type GoldenLine = Omit<Api.GoldenOut, "golden"> & { golden: Api.GoldenMembers };

  /** Figures by level (`documents`, `passages`) and name. */
  type Metrics = Record<string, Record<string, number>>;
  type Run = Omit<Api.EvaluationOut, "error" | "summary"> & { error: Told | null; summary: { engine: string; metrics: Metrics }[] | null };
  interface Finding {
    source: string;
    right: boolean;
  }
  interface EngineResult {
    engine: string;
    questions: { id: string; question: string; metrics: Metrics; found: Finding[] }[];
  }

  interface Budget {
    scope: string;
    period: string;
    renews_at: string;
    tokens: number | null;
    usd: number | null;
    spent_tokens: number;
    spent_usd: number;
  }
  type Me = Omit<Api.MeOut, "limits"> & { limits: { budgets?: Budget[] } };

  type Theme = "auto" | "light" | "dark";
  type Said = string | number | boolean;
  /** A file of ../strings. */
  type Strings = Record<string, string | ((...said: Said[]) => string) | Record<string, string | ((...said: (Said | null)[]) => string)>>;
}
