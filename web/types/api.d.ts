// What is sent to the server (`…Body`) and comes from it (`…Out`), made from its OpenAPI description by `make format`.
// `unknown`: the description leaves it open.
declare namespace Api {
  /** A page of a list. */
  interface PageOut<Item> {
    items: Item[];
    next_cursor: string | null;
  }

  interface AccessExplanationOut {
    document_id: string;
    collection: string;
    subject: string;
    groups: string[];
    readers: string[];
    matched: string[];
    allowed: boolean;
  }

  interface ActivationBody {
    generation: string;
  }

  interface ActivationOut {
    collection: string;
    generation: string;
    before: string;
    job_id: string | null;
  }

  interface AnswerOut {
    answer: string;
    citations: CitationOut[];
    collection: string;
    generation: string;
    rerank?: RerankOut | null;
    engine?: EngineOut | null;
    trace_id: string | null;
    request_id: string;
    sources: string[];
    finish_reason: "stop" | "length" | "no_context" | "extractive" | "tool_calls";
    model: string;
    cost_usd: number | null;
    timings_ms: Record<string, number>;
    cached?: boolean;
    explanation?: AnswersExplanationOut | null;
    usage: AnswersUsageOut | null;
  }

  interface AnswerRatingOut {
    rating: "up" | "down";
    at: string;
  }

  interface AnswersExplanationOut {
    candidates: CandidateOut[];
    omitted: number;
  }

  interface AnswersUsageOut {
    prompt_tokens: number;
    completion_tokens: number;
    total_tokens: number;
    is_estimate?: boolean;
  }

  interface AuditOut {
    id: string;
    at: string;
    tenant: string;
    subject: string;
    actor_tenant: string;
    key: string | null;
    key_name?: string | null;
    client: string | null;
    action: string;
    object: string;
    object_name?: string | null;
    outcome: "success" | "failure" | "denied";
    request_id: string | null;
    trace_id: string | null;
    before: Record<string, unknown> | null;
    after: Record<string, unknown> | null;
  }

  interface CandidateOut {
    outcome: "given" | "joined" | "duplicate" | "document_cap" | "beyond_k" | "no_room" | "below_min_score" | "left_out";
    citation: number | null;
    document_id: string;
    source: string;
    title: string;
    heading: string | null;
    page: number | null;
    chunk_index: number;
    start: number;
    end: number;
    score: number;
    scores: Record<string, number>;
    ranks: Record<string, number>;
  }

  interface ChatAnswerOut {
    answer: string;
    citations: CitationOut[];
    collection: string;
    generation: string;
    rerank?: RerankOut | null;
    engine?: EngineOut | null;
    trace_id: string | null;
    request_id: string;
    sources: string[];
    finish_reason: "stop" | "length" | "no_context" | "extractive" | "tool_calls";
    model: string;
    cost_usd: number | null;
    timings_ms: Record<string, number>;
    cached?: boolean;
    explanation?: AnswersExplanationOut | null;
    usage: AnswersUsageOut | null;
    conversation_id: string;
    message_id: string;
    standalone_question: string;
  }

  interface ChatBody {
    k?: number;
    mode?: string;
    filters?: FilterGroup | null;
    document_ids?: string[] | null;
    min_score?: number | null;
    max_per_document?: number | null;
    near_duplicates?: "drop" | "keep" | null;
    join_neighbours?: boolean | null;
    rerank?: boolean | null;
    temperature?: number | null;
    max_tokens?: number | null;
    stream?: boolean;
    explain?: boolean;
    message: string;
    conversation_id?: string | null;
    collection?: string | null;
  }

  interface ChunkOut {
    node_id: string;
    chunk_index: number;
    start: number;
    end: number;
    heading: string | null;
    text: string;
  }

  interface CitationOut {
    id: number;
    node_id: string;
    document_id: string;
    source: string;
    title: string;
    heading: string | null;
    page: number | null;
    page_end: number | null;
    chunk_index: number;
    text: string;
    score: number;
    scores: Record<string, number>;
    start: number;
    end: number;
    metadata: Record<string, unknown>;
    cited: boolean;
    chunks: number[];
  }

  interface CollectionBody {
    name: string;
    language?: string | null;
    chunk_tokens?: number | null;
    chunk_overlap?: number | null;
    readers?: string[];
    embedding?: string | null;
  }

  interface CollectionOut {
    name: string;
    generation: string;
    documents: number;
    chunks: number;
    embedding_model: string;
    dimension: number;
    language: string;
    chunk_tokens: number;
    table: string;
    created_at: string;
    readers: string[];
    building: string | null;
  }

  interface ConversationMessagesOut {
    id: string;
    title: string;
    collection: string;
    created_at: string;
    updated_at: string;
    messages: MessageOut[];
    next_cursor: string | null;
  }

  interface ConversationOut {
    id: string;
    title: string;
    collection: string;
    created_at: string;
    updated_at: string;
  }

  interface DependencyOut {
    ok: boolean;
    required: boolean;
    detail: string;
    facts?: Record<string, string | number>;
  }

  interface DocumentAnswerOut {
    id: string;
    at: string;
    subject: string;
    key_id: string | null;
    operation: "query" | "chat" | "retrieve";
    outcome: string;
    collection: string;
    generation: string;
    chunk_ids: string[];
    chunks: number[];
    cited: boolean;
    request_id: string | null;
    trace_id: string | null;
    conversation_id: string | null;
    feedback: AnswerRatingOut | null;
  }

  interface DocumentOut {
    id: string;
    source: string;
    title: string;
    chunks: number;
    bytes: number;
    content_hash: string;
    metadata: Record<string, unknown>;
    ingested_at: string;
    collection: string;
    revision: number;
    pages: number;
    warnings: WarningOut[];
    parent: string | null;
    readers: string[];
  }

  interface DocumentTextOut {
    document_id: string;
    revision: number;
    text: string;
    pages: PageSpanOut[];
  }

  interface EngineOut {
    name: string;
    queries: string[];
    calls: number;
    notes: string[];
  }

  interface EvaluationBody {
    collection?: string;
    engines?: string[];
    k?: number;
    judge?: boolean;
    name?: string;
  }

  interface EvaluationOut {
    id: string;
    collection: string;
    subject: string;
    name: string;
    engines: string[];
    k: number;
    judge: boolean;
    questions: number;
    status: "queued" | "running" | "succeeded" | "failed" | "cancelled";
    progress: ProgressOut;
    error: Record<string, unknown> | null;
    summary: Record<string, unknown>[] | null;
    created_at: string;
    finished_at: string | null;
  }

  interface EvaluationsOut {
    items: EvaluationOut[];
    next_cursor: string | null;
    unavailable: string | null;
  }

  interface FeedbackBody {
    trace_id: string;
    rating: "up" | "down";
    comment?: string | null;
    question?: string | null;
    answer?: string | null;
    document_ids?: string[] | null;
    collection?: string | null;
  }

  interface FeedbackOut {
    id: string;
    trace_id: string;
    rating: "up" | "down";
    created_at: string;
    updated_at: string;
    comment: string | null;
    question: string | null;
    answer: string | null;
    document_ids: string[] | null;
    conversation_id: string | null;
    collection: string | null;
    generation: string | null;
    model: string | null;
    answer_id: string | null;
  }

  interface Filter {
    key: string;
    value?: boolean | number | string | (boolean | number | string)[] | null;
    operator?: "==" | "!=" | ">" | ">=" | "<" | "<=" | "in" | "nin" | "any" | "all" | "contains" | "text_match" | "text_match_insensitive" | "is_empty";
  }

  interface FilterGroup {
    filters: (Filter | FilterGroup)[];
    condition?: "and" | "or" | "not";
  }

  interface GenerationOut {
    name: string;
    state: "building" | "ready" | "active" | "retired" | "failed";
    documents: number;
    chunks: number;
    embedding_model: string;
    dimension: number;
    language: string;
    chunk_tokens: number;
    chunk_overlap: number;
    table: string;
    bytes: number;
    report: Record<string, unknown> | null;
    created_at: string;
    activated_at: string | null;
    retired_at: string | null;
  }

  interface GoldenBody {
    question: string;
    documents?: string[];
    passages?: PassageBody[];
    answers?: string[];
    unanswerable?: boolean;
    answer?: string | null;
    filters?: Record<string, unknown> | null;
    grades?: Record<string, number>;
    kind?: string;
    id?: string;
    collection?: string;
  }

  interface GoldenMembers {
    question: string;
    documents?: string[];
    passages?: PassageBody[];
    answers?: string[];
    unanswerable?: boolean;
    answer?: string | null;
    filters?: Record<string, unknown> | null;
    grades?: Record<string, number>;
    kind?: string;
    id?: string;
  }

  interface GoldenOut {
    id: string;
    collection: string;
    subject: string;
    golden: Record<string, unknown>;
    titles: Record<string, string>;
    created_at: string;
    updated_at: string;
  }

  interface HealthOut {
    status?: "ok";
  }

  interface ImportedOut {
    lines: number;
    added: number;
    missing: number;
    missing_documents: string[];
  }

  interface JobOut {
    id: string;
    kind: string;
    collection: string;
    document_id: string | null;
    source: string | null;
    status: "queued" | "running" | "succeeded" | "failed" | "cancelled";
    waits_for: "tenant" | null;
    progress: ProgressOut;
    error: Record<string, unknown> | null;
    result: Record<string, unknown> | null;
    attempts: number;
    superseded_by: string | null;
    request_id: string | null;
    trace_id: string | null;
    created_at: string;
    started_at: string | null;
    finished_at: string | null;
    next_try_at: string | null;
  }

  interface JsonSchemaIn {
    name?: string;
    schema: Record<string, unknown>;
  }

  interface KeyBody {
    name: string;
    scopes: ("query" | "documents:read" | "documents:download" | "documents:write" | "collections:write" | "feedback" | "evaluate" | "metrics" | "audit" | "keys" | "tenants" | "admin")[];
    tenant?: string | null;
    subject?: string | null;
    groups?: string[] | null;
    collections?: string[] | null;
    expires_at?: string | null;
    limits?: KeyLimits | null;
  }

  interface KeyLimits {
    key_requests?: number | null;
    key_streams?: number | null;
    key_tokens_day?: number | null;
    key_tokens_month?: number | null;
    key_usd_day?: number | null;
    key_usd_month?: number | null;
  }

  interface KeyLimitsBody {
    limits: KeyLimits;
  }

  interface KeyOut {
    id: string;
    name: string;
    tenant: string;
    subject: string;
    groups: string[];
    scopes: string[];
    collections: string[] | null;
    limits: Record<string, unknown>;
    expires_at: string | null;
    created_at: string;
    rotated_at: string | null;
    previous_until: string | null;
    revoked_at: string | null;
    last_used_at: string | null;
  }

  interface MadeKeyOut {
    id: string;
    name: string;
    tenant: string;
    subject: string;
    groups: string[];
    scopes: string[];
    collections: string[] | null;
    limits: Record<string, unknown>;
    expires_at: string | null;
    created_at: string;
    rotated_at: string | null;
    previous_until: string | null;
    revoked_at: string | null;
    last_used_at: string | null;
    key: string;
  }

  interface MeOut {
    tenant: string;
    subject: string;
    groups: string[];
    scopes: string[];
    collections: string[] | null;
    key_id: string | null;
    limits: Record<string, unknown>;
  }

  interface MessageOut {
    id: string;
    role: "user" | "assistant";
    content: string;
    state: "running" | "complete" | "failed" | "abandoned" | "stopped";
    citations: Record<string, unknown>[];
    finish_reason: string | null;
    problem: string | null;
    standalone_question: string | null;
    model: string | null;
    usage: Record<string, number> | null;
    generation: string | null;
    trace_id: string | null;
    created_at: string;
  }

  interface PageSpanOut {
    page: number;
    label: string;
    start: number;
    end: number;
  }

  interface PassageBody {
    document?: string | null;
    start?: number | null;
    end?: number | null;
    text?: string | null;
  }

  interface ProgressOut {
    done: number;
    total: number | null;
  }

  interface QuestionBody {
    k?: number;
    mode?: string;
    filters?: FilterGroup | null;
    document_ids?: string[] | null;
    min_score?: number | null;
    max_per_document?: number | null;
    near_duplicates?: "drop" | "keep" | null;
    join_neighbours?: boolean | null;
    rerank?: boolean | null;
    temperature?: number | null;
    max_tokens?: number | null;
    stream?: boolean;
    explain?: boolean;
    question: string;
    collection?: string;
    response_format?: ResponseFormat | null;
  }

  interface RatingOut {
    id: string;
    trace_id: string;
    rating: "up" | "down";
    created_at: string;
    updated_at: string;
  }

  interface ReadersBody {
    readers: string[];
  }

  interface ReadersOut {
    document_id: string;
    readers: string[];
  }

  interface ReadyOut {
    status?: "ready";
    dependencies: Record<string, DependencyOut>;
  }

  interface RemovedOut {
    deleted: string;
    counts: Record<string, number>;
  }

  interface ReportOut {
    url: string;
  }

  interface RerankOut {
    applied: boolean;
    model: string;
    candidates: number;
    reason: "circuit-open" | "failed" | "no-passages" | "nonsense" | "rate-limited" | "rejected" | "timeout" | "unavailable" | null;
  }

  interface ResponseFormat {
    type: "text" | "json_object" | "json_schema";
    json_schema?: JsonSchemaIn | null;
  }

  interface RetrievedOut {
    collection: string;
    generation: string;
    rerank?: RerankOut | null;
    engine?: EngineOut | null;
    trace_id: string | null;
    request_id: string;
    explanation?: AnswersExplanationOut | null;
    results: CitationOut[];
    timings_ms: Record<string, number>;
  }

  interface RotationBody {
    overlap_seconds?: number;
  }

  interface SubmittedOut {
    document_id: string;
    job_id: string;
  }

  interface SuggestionOut {
    question: string;
    heading: string;
    document_id: string;
    title: string;
  }

  interface TenantBody {
    id: string;
  }

  interface TenantOut {
    id: string;
    status: "active" | "suspended" | "deleting";
    created_at: string;
    collections: number;
    documents: number;
    jobs: number;
  }

  interface TitleBody {
    title: string;
  }

  interface UsageUsageOut {
    name: string;
    calls: number;
    prompt_tokens: number;
    completion_tokens: number;
    cost_usd: number;
    unpriced_calls: number;
    estimated_calls: number;
    total_tokens: number;
  }

  interface WarningOut {
    kind: string;
    detail: string;
    page: number | null;
  }

  interface WelcomeOut {
    name?: "Footnote";
    version: string;
    docs?: string;
    openapi?: string;
    ready?: string;
    ask?: string;
    chat?: string;
    openai?: string;
    mcp?: string;
  }
}
