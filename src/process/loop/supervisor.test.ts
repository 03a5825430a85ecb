// Facts about the lanes of a stage: what keeps them from starting is got over, and shown until then.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { EventLog } from '../../ports/event-log/event-log.ts';
import { logError } from '../../ports/event-log/event-log.ts';
import { testPipeline, until, untilDone } from '../testing/pipeline.ts';

test('starts its lanes again when they could not join their group, as on a full disk', async (t) => {
  const pipeline = await testPipeline(t);
  let isFull = true;
  const log = consuming(pipeline.log, (options) => {
    if (isFull) throw logError('PULSE_LOG_DISK_FULL', 'No space is left for the event log.');
    return pipeline.log.consume(options);
  });
  await pipeline.send(0, { event_id: 'a', event_type: 't', data: {} });
  const stage = await pipeline.start({ log });
  await until(() => stage.problem()?.includes('PULSE_LOG_DISK_FULL') === true);
  // The topics are not new any more at the second try; the lanes are due all the same.
  await new Promise((resume) => setTimeout(resume, 300));
  assert.match(stage.problem() ?? 'nothing', /PULSE_LOG_DISK_FULL/);
  isFull = false;
  await untilDone(pipeline, stage);
  assert.equal(stage.problem(), null);
});

/** The log with another `consume`. */
function consuming(log: EventLog, consume: EventLog['consume']): EventLog {
  return new Proxy(log, {
    get: (target, name) => {
      if (name === 'consume') return async (options: Parameters<EventLog['consume']>[0]) => consume(options);
      const member: unknown = Reflect.get(target, name);
      return typeof member === 'function' ? member.bind(target) : member;
    },
  });
}
