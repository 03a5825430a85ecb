// `pulse loadgen`: sends load to a Pulse on this machine and reports what came back.
import type { Command, CommandContext } from '../command.ts';
import { adminTokenOf, isLoopback, originOf } from '../connection.ts';
import { cliError, exitCode } from '../errors.ts';
import { type LoadPlan, loadLimits } from '../loadgen/plan.ts';
import { prepareTenants } from '../loadgen/prepare.ts';
import { progressLine, reportText } from '../loadgen/present.ts';
import { Recorder } from '../loadgen/recorder.ts';
import { runLoad } from '../loadgen/run.ts';

export const loadgenCommand: Command = {
  name: 'loadgen',
  summary: 'Send load and report latency, acceptance and errors.',
  usage: [
    'loadgen --rate N [options]   open loop: N requests a second, whatever the server does',
    'loadgen [options]            closed loop: each connection sends when it is free',
  ],
  notes: [
    'Makes tenants load_0, load_1, … with the administrator token and raises their limits.',
    'Latency of an open loop counts from when a request was due, so a stalled server cannot hide.',
    'Exit code 1 when a request failed that was not sent to fail.',
  ],
  options: {
    rate: {
      type: 'string',
      value: 'N',
      help: `Requests a second (open loop), at most ${loadLimits.rateMax}.`,
    },
    connections: { type: 'string', value: 'N', help: 'Connections; 128 unless told.' },
    duration: { type: 'string', value: 'S', help: 'Seconds; 10 unless told.' },
    requests: { type: 'string', value: 'N', help: 'End after so many requests.' },
    tenants: { type: 'string', value: 'N', help: 'Tenants to send as; 1 unless told.' },
    batch: { type: 'string', value: 'N', help: 'Events in each request; 1 unless told.' },
    size: { type: 'string', value: 'BYTES', help: 'Size of an event; 500 unless told.' },
    duplicates: { type: 'string', value: 'PERCENT', help: 'Events that repeat the id of an earlier one.' },
    malformed: {
      type: 'string',
      value: 'PERCENT',
      help: 'Half become dead letters, half are refused with 400.',
    },
    'idempotency-keys': { type: 'boolean', help: 'Give every request an Idempotency-Key of its own.' },
    seed: { type: 'string', value: 'N', help: 'Same seed, same events and ids; random unless told.' },
    record: { type: 'string', value: 'FILE', help: 'Write every acknowledged event and receipt as NDJSON.' },
    reconnect: { type: 'boolean', help: 'Go on while the server is killed and started again.' },
    'i-own-this-host': { type: 'boolean', help: 'Allow an address that is not this machine.' },
  },
  positionals: { min: 0, max: 0 },
  async run(context) {
    const origin = originOf(context.options.text('url'), context.environment);
    if (!isLoopback(origin) && !context.options.flag('i-own-this-host')) {
      throw cliError('PULSE_CLI_HOST_REFUSED', `${origin} is not this machine.`);
    }
    const plan = await makePlan(context, origin);
    const file = context.options.text('record');
    const recorder = file === undefined ? undefined : new Recorder(file);
    const { terminal, json } = context;
    try {
      const report = await runLoad(plan, {
        recorder,
        signal: context.signal,
        onProgress:
          json || !terminal.isTerminal ? undefined : (progress) => terminal.error(progressLine(progress)),
      });
      context.print(report, () => reportText(report));
      const unexpected = report.rejected.requests - report.rejected.expected + report.rejected.events;
      // Told to live through restarts, a run does not fail because of what a restart cost.
      const unanswered = plan.reconnect ? 0 : report.unsent + report.unknown;
      const failures = unexpected + report.throttled + unanswered;
      return failures === 0 ? exitCode.ok : exitCode.failed;
    } finally {
      recorder?.close();
    }
  },
};

async function makePlan(context: CommandContext, origin: string): Promise<LoadPlan> {
  const { options } = context;
  const whole = (name: string, defaultValue: number, max: number): number =>
    options.number(name, { defaultValue, min: 1, max });
  const share = (name: string): number =>
    options.number(name, { defaultValue: 0, min: 0, max: 100, integer: false }) / 100;
  const connections = whole('connections', 128, loadLimits.connectionsMax);
  const rate = options.text('rate') === undefined ? null : whole('rate', 1, loadLimits.rateMax);
  const adminToken = options.text('key') ?? adminTokenOf(context.environment);
  if (adminToken === null) {
    throw cliError(
      'PULSE_CLI_CREDENTIAL_MISSING',
      'loadgen makes tenants and needs the administrator token.',
    );
  }
  const durationSeconds = options.number('duration', {
    defaultValue: 10,
    min: 0.1,
    max: loadLimits.durationSecondsMax,
    integer: false,
  });
  const tenants = await prepareTenants({
    origin,
    adminToken,
    count: whole('tenants', 1, loadLimits.tenantsMax),
    signal: context.signal,
  });
  return {
    origin,
    tenants,
    rate,
    connections,
    durationMs: durationSeconds * 1000,
    requestsMax: whole('requests', loadLimits.requestsMax, loadLimits.requestsMax),
    batch: whole('batch', 1, loadLimits.batchMax),
    eventBytes: whole('size', 500, loadLimits.eventBytesMax),
    duplicates: share('duplicates'),
    malformed: share('malformed'),
    idempotencyKeys: options.flag('idempotency-keys'),
    seed: options.number('seed', {
      defaultValue: Math.floor(Math.random() * 2 ** 32),
      min: 0,
      max: 2 ** 32 - 1,
    }),
    reconnect: options.flag('reconnect'),
    requestTimeoutMs: 30_000,
    drainMs: 30_000,
  };
}
