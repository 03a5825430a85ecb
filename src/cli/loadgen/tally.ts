// What a load run counts, and the report made of it.
import { Histogram } from './histogram.ts';

/** Counters of a run. Events and requests are kept apart; a request carries `batch` events. */
export class Tally {
  readonly latency = new Histogram();
  /** Answers of the current progress interval only. */
  readonly recent = new Histogram();
  sentRequests = 0;
  sentEvents = 0;
  sentDuplicates = 0;
  /** Events sent to become dead letters; their request is accepted. */
  sentDeadLetters = 0;
  /** Requests sent to be refused with 400. */
  sentRefusals = 0;
  answers = 0;
  acceptedRequests = 0;
  acceptedEvents = 0;
  rejectedRequests = 0;
  /** Events that an accepted request listed in `errors`. */
  rejectedEvents = 0;
  /** Refusals that were sent to be refused; the rest of the rejections is unexpected. */
  expectedRefusals = 0;
  throttled = 0;
  connectionErrors = 0;
  /** Requests whose connection ended before the answer: stored or not, nobody knows. */
  unknownRequests = 0;
  readonly byStatus = new Map<number, number>();
  readonly byCode = new Map<string, number>();
  readonly byReason = new Map<string, number>();

  countStatus(status: number): void {
    this.byStatus.set(status, (this.byStatus.get(status) ?? 0) + 1);
  }

  countCode(code: string): void {
    // A server that makes up codes must not grow the map.
    const name = this.byCode.has(code) || this.byCode.size < 200 ? code : 'other';
    this.byCode.set(name, (this.byCode.get(name) ?? 0) + 1);
  }

  countReason(reason: string): void {
    const name = this.byReason.has(reason) || this.byReason.size < 200 ? reason : 'other';
    this.byReason.set(name, (this.byReason.get(name) ?? 0) + 1);
  }
}

/** The result of a run; this is what `--json` prints. Times in ms unless named otherwise. */
export interface LoadReport {
  readonly mode: 'open' | 'closed';
  readonly target_rate: number | null;
  readonly connections: number;
  readonly tenants: number;
  readonly batch: number;
  readonly seed: number;
  /** First send to last answer. */
  readonly elapsed_ms: number;
  readonly sent: {
    requests: number;
    events: number;
    duplicates: number;
    dead_letters: number;
    refusals: number;
  };
  readonly accepted: { requests: number; events: number };
  readonly rejected: { requests: number; events: number; expected: number };
  readonly throttled: number;
  readonly connection_errors: number;
  /** Requests without an answer: stored or not, nobody knows. */
  readonly unknown: number;
  /** Requests that were due but never sent, because every connection was busy until the end. */
  readonly unsent: number;
  readonly by_status: Readonly<Record<string, number>>;
  readonly by_code: Readonly<Record<string, number>>;
  readonly by_connection_error: Readonly<Record<string, number>>;
  readonly requests_per_second: number;
  readonly events_per_second: number;
  /** From the scheduled send (open loop) or the send (closed loop) to the whole answer. */
  readonly latency_ms: {
    p50: number;
    p95: number;
    p99: number;
    p999: number;
    max: number;
    mean: number;
  };
  /** CPU time of the generator itself for each request, user and system. */
  readonly generator_cpu_us_per_request: number;
}

export interface ReportFacts {
  readonly mode: 'open' | 'closed';
  readonly targetRate: number | null;
  readonly connections: number;
  readonly tenants: number;
  readonly batch: number;
  readonly seed: number;
  readonly elapsedMs: number;
  readonly unsent: number;
  readonly cpuUs: number;
}

export function reportOf(tally: Tally, facts: ReportFacts): LoadReport {
  const seconds = Math.max(facts.elapsedMs, 1) / 1000;
  const { latency } = tally;
  return {
    mode: facts.mode,
    target_rate: facts.targetRate,
    connections: facts.connections,
    tenants: facts.tenants,
    batch: facts.batch,
    seed: facts.seed,
    elapsed_ms: Math.round(facts.elapsedMs),
    sent: {
      requests: tally.sentRequests,
      events: tally.sentEvents,
      duplicates: tally.sentDuplicates,
      dead_letters: tally.sentDeadLetters,
      refusals: tally.sentRefusals,
    },
    accepted: { requests: tally.acceptedRequests, events: tally.acceptedEvents },
    rejected: {
      requests: tally.rejectedRequests,
      events: tally.rejectedEvents,
      expected: tally.expectedRefusals,
    },
    throttled: tally.throttled,
    connection_errors: tally.connectionErrors,
    unknown: tally.unknownRequests,
    unsent: facts.unsent,
    by_status: Object.fromEntries(tally.byStatus),
    by_code: Object.fromEntries(tally.byCode),
    by_connection_error: Object.fromEntries(tally.byReason),
    requests_per_second: round(tally.answers / seconds, 1),
    events_per_second: round(tally.acceptedEvents / seconds, 1),
    latency_ms: latencyOf(latency),
    generator_cpu_us_per_request: round(facts.cpuUs / Math.max(1, tally.sentRequests), 2),
  };
}

function latencyOf(latency: Histogram): LoadReport['latency_ms'] {
  const ms = (us: number): number => round(us / 1000, 3);
  return {
    p50: ms(latency.percentile(0.5)),
    p95: ms(latency.percentile(0.95)),
    p99: ms(latency.percentile(0.99)),
    p999: ms(latency.percentile(0.999)),
    max: ms(latency.max),
    mean: ms(latency.mean),
  };
}

function round(value: number, digits: number): number {
  const factor = 10 ** digits;
  return Math.round(value * factor) / factor;
}
