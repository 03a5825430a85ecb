// Where a record is. A position names one record of one log for ever; receipts are positions that a client may hold.

/**
 * The place of a raw record. `epoch` stands for (log incarnation, topic) through the table `log_epochs`, so a log that
 * was deleted and made again, or moved to another engine, never yields an old position again.
 */
export interface Position {
  /** Row of `log_epochs`; from 1 to 2^31 - 1. */
  readonly epoch: number;
  /** Partition of the raw topic; >= 0. */
  readonly partition: number;
  /** Offset inside the partition; >= 0, below 2^53. */
  readonly offset: number;
}

/** What Postgres can hold in an integer; a larger number in a cursor or receipt is nobody's. */
const epochMax = 2_147_483_647;

/** `epoch.partition.offset`, as carried in the headers `pulse_source` and `pulse_previous_source`. */
export function formatPosition(position: Position): string {
  return `${position.epoch}.${position.partition}.${position.offset}`;
}

/** Reads what `formatPosition` wrote; null when the text is anything else. */
export function parsePosition(text: string): Position | null {
  const match = /^(\d{1,10})\.(\d{1,6})\.(\d{1,16})$/.exec(text);
  if (match === null) return null;
  const position = { epoch: Number(match[1]), partition: Number(match[2]), offset: Number(match[3]) };
  const isEpoch = position.epoch >= 1 && position.epoch <= epochMax;
  return isEpoch && Number.isSafeInteger(position.offset) ? position : null;
}

/** A receipt: the tenant and position of an accepted event. */
export interface Receipt extends Position {
  readonly tenantId: string;
}

/**
 * The receipt id that a client keeps: `rcp_<tenant>.<epoch>.<partition>.<offset>`.
 * It is readable on purpose and holds no secret: reading a receipt still needs a credential of that tenant.
 */
export function formatReceiptId(receipt: Receipt): string {
  return `${receiptIdPrefix(receipt.tenantId, receipt.epoch)}${receipt.partition}.${receipt.offset}`;
}

/** What the receipt ids of one tenant and epoch have in common; `<partition>.<offset>` follows. For answers with many. */
export function receiptIdPrefix(tenantId: string, epoch: number): string {
  return `rcp_${tenantId}.${epoch}.`;
}

/** Reads what `formatReceiptId` wrote; null when the text is anything else. */
export function parseReceiptId(text: string): Receipt | null {
  const match = /^rcp_([a-z0-9_-]{1,63})\.(.+)$/.exec(text);
  if (match === null) return null;
  const position = parsePosition(match[2] as string);
  return position === null ? null : { tenantId: match[1] as string, ...position };
}
