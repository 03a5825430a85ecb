// Dead letters as JSON text. A payload that is JSON is spliced in as its original bytes: JSON.parse would round its big numbers.
import { isUtf8 } from 'node:buffer';
import { jsonDepthMax } from '../../core/envelope.ts';
import { isDeeperThan } from '../../core/json-scan.ts';
import { formatPosition, formatReceiptId } from '../../core/position.ts';
import type { DeadLetterGroup, DeadLetterRecord } from './queries.ts';

/** One dead letter as the API shows it. */
export function deadLetterJson(letter: DeadLetterRecord): string {
  const position = { epoch: letter.epoch, partition: letter.partition, offset: letter.record_offset };
  const head = JSON.stringify({
    id: letter.id,
    tenant_id: letter.tenant_id,
    code: letter.code,
    stage: letter.stage,
    event_id: letter.event_id,
    event_type: letter.event_type,
    errors: letter.failures,
    attempts: letter.attempts,
    state: letter.state,
    fingerprint: letter.fingerprint,
    received_at: letter.received_at,
    created_at: letter.created_at,
    receipt_id: formatReceiptId({ tenantId: letter.tenant_id, ...position }),
    position: formatPosition(position),
    headers: letter.headers,
    payload_bytes: letter.payload.length,
    payload_base64: letter.payload.toString('base64'),
  });
  return `${head.slice(0, -1)},"payload":${payloadJson(letter.payload)}}`;
}

/** A page of dead letters as the API shows it. */
export function pageJson(letters: readonly DeadLetterRecord[], nextCursor: string | null): string {
  return `{"dead_letters":[${letters.map(deadLetterJson).join(',')}],"next_cursor":${JSON.stringify(nextCursor)}}`;
}

/** One group as the API shows it. */
export function groupJson(group: DeadLetterGroup) {
  const { failures, ...shown } = group;
  return { ...shown, errors: failures };
}

/** The payload's own text when it is JSON that any reader can take; `null` otherwise. */
function payloadJson(payload: Buffer): string {
  if (!isUtf8(payload) || isDeeperThan(payload, jsonDepthMax)) return 'null';
  const text = payload.toString('utf8');
  try {
    JSON.parse(text);
    return text;
  } catch {
    return 'null'; // That it is no JSON is what made it a dead letter.
  }
}
