// What a new user sees: the demo tenant, and a curl that works when pasted.
import type { Database } from '../database/types.ts';
import { ensureDemoTenant } from '../tenancy/demo.ts';
import type { Directory } from '../tenancy/types.ts';
import { type DataDirectory, keepSecret, readSecret } from './data-directory.ts';

const demoKeyFile = 'demo-key';

/**
 * Makes tenant `demo` and its key when this data directory has none; returns the key, or null when it is not known here
 * (an outside database that another machine prepared).
 * Guarantees: the key is kept 0600 in the data directory, so that every start can print a working curl.
 */
export async function prepareDemo(
  database: Database,
  tenants: Directory,
  directory: DataDirectory,
): Promise<string | null> {
  const kept = readSecret(directory, demoKeyFile);
  if (kept !== null && tenants.principal(kept) !== null) return kept;
  const made = await ensureDemoTenant(database);
  if (made !== null) keepSecret(directory, demoKeyFile, made.apiKey);
  return made?.apiKey ?? null;
}

/** Prints how to begin on standard output. */
export function printWelcome(facts: {
  url: string | null;
  directory: DataDirectory;
  demoKey: string | null;
  seconds: number;
}): void {
  const lines = ['', `Pulse is ready after ${facts.seconds.toFixed(1)} s.`];
  if (facts.url !== null) {
    lines.push('', `  Start page   ${facts.url}/`, `  API docs     ${facts.url}/docs`);
    lines.push(adminTokenLine(facts.directory));
    if (facts.demoKey !== null) {
      lines.push('', 'Send an event:', '', exampleCurl(facts.url, facts.demoKey), '');
      lines.push(
        'Then look for it:',
        '',
        `  curl -s '${facts.url}/v1/events?limit=1' -H 'X-API-Key: ${facts.demoKey}'`,
      );
    }
  }
  lines.push('', 'Ctrl-C stops Pulse; nothing that was accepted is lost.', '');
  process.stdout.write(`${lines.join('\n')}\n`);
}

// Shown once, on the terminal of the first start; afterwards the file, readable by its owner alone, is the only place.
function adminTokenLine(directory: DataDirectory): string {
  const file = `${directory.path}/admin-token`;
  const token = directory.isNew ? readSecret(directory, 'admin-token') : null;
  return `  Admin token  ${token === null ? `kept in ${file}` : `${token} (also kept in ${file})`}`;
}

function exampleCurl(url: string, key: string): string {
  const event = '{"event_type":"order.created","data":{"order_id":"A-1001","amount":42.5,"currency":"EUR"}}';
  return `  curl -s ${url}/v1/collect -H 'X-API-Key: ${key}' -H 'Content-Type: application/json' -d '${event}'`;
}
