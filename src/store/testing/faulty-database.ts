// A database that breaks at a chosen moment of a transaction, once, on the way to a real one.
import { databaseError } from '../../database/errors.ts';
import type { Database, Queryable } from '../../database/types.ts';

/** Moments at which a sink can be cut off. */
export type Moment =
  | 'before the transaction'
  | 'before COMMIT'
  | 'COMMIT lost, not done'
  | 'COMMIT lost, but done';

/** Breaks the first transaction that stores events at the given moment. */
export function faultyDatabase(
  real: Database,
  moment: Moment,
): Database & { readonly hasBroken: () => boolean } {
  let broken = false;
  return {
    hasBroken: () => broken,
    query: (text, values, options) => real.query(text, values, options),
    withTenant: (tenantId, work) => real.withTenant(tenantId, work),
    close: () => real.close(),
    async withTenants(tenantIds, work) {
      // The retention binds every tenant; the batches of these tests have one.
      if (broken || tenantIds.length > 1) return await real.withTenants(tenantIds, work);
      let stores = false;
      const watched = (client: Queryable): Queryable => ({
        query: (text, values, options) => {
          stores ||= text.startsWith('INSERT INTO events');
          return client.query(text, values, options);
        },
      });
      const breakOff = (code: 'PULSE_DATABASE_UNAVAILABLE' | 'PULSE_DATABASE_COMMIT_UNKNOWN') => {
        broken = true;
        return databaseError(code, `broken on purpose: ${moment}`);
      };
      if (moment === 'before the transaction') throw breakOff('PULSE_DATABASE_UNAVAILABLE');
      const result = await real.withTenants(tenantIds, async (client) => {
        const value = await work(watched(client));
        if (stores && moment === 'before COMMIT') throw breakOff('PULSE_DATABASE_UNAVAILABLE');
        if (stores && moment === 'COMMIT lost, not done') throw breakOff('PULSE_DATABASE_COMMIT_UNKNOWN');
        return value;
      });
      if (stores) throw breakOff('PULSE_DATABASE_COMMIT_UNKNOWN');
      return result;
    },
  };
}
