// GET /v1/receipts/{receipt_id}.
import type { FastifyInstance } from 'fastify';
import { parseReceiptId } from '../core/position.ts';
import { principalOf, requireScope } from '../tenancy/index.ts';
import type { StoreRouteDependencies } from './access.ts';
import { storeError } from './errors.ts';
import { reportReceipt, unknownReceipt } from './receipt.ts';

const stageSchema = {
  type: 'object',
  properties: {
    state: { type: 'string', enum: ['done', 'waiting', 'parked'] },
    at: { type: ['string', 'null'], format: 'date-time' },
  },
} as const;

const receiptSchema = {
  type: 'object',
  properties: {
    receipt_id: { type: 'string' },
    event_id: { type: ['string', 'null'] },
    event_type: { type: ['string', 'null'] },
    state: { type: 'string', enum: ['in_flight', 'stored', 'duplicate', 'dead_letter', 'dropped'] },
    stages: {
      type: 'object',
      properties: { received: stageSchema, processed: stageSchema, stored: stageSchema },
    },
    position: { type: 'string' },
    attempt: { type: 'integer', description: 'The attempt that repaired a former dead letter.' },
    duplicate_of: { type: 'string', description: 'Receipt of the event that had this id first.' },
    dead_letter: {
      type: 'object',
      properties: {
        id: { type: 'string' },
        code: { type: 'string' },
        stage: { type: 'string' },
        state: { type: 'string' },
      },
    },
  },
} as const;

/** Registers the receipt route. */
export function registerReceiptRoutes(app: FastifyInstance, dependencies: StoreRouteDependencies): void {
  app.get(
    '/v1/receipts/:receipt_id',
    {
      onRequest: requireScope('read'),
      schema: {
        tags: ['receipts'],
        summary: 'Where one accepted event is now.',
        params: {
          type: 'object',
          properties: { receipt_id: { type: 'string', minLength: 1, maxLength: 200 } },
          required: ['receipt_id'],
        },
        response: { 200: receiptSchema },
      },
    },
    async (request) => {
      const { receipt_id: receiptId } = request.params as { readonly receipt_id: string };
      const receipt = parseReceiptId(receiptId);
      if (receipt === null)
        throw storeError('PULSE_STORE_RECEIPT_UNKNOWN', `There is no receipt ${receiptId}.`);
      const principal = principalOf(request);
      if (principal.kind === 'key' && principal.tenantId !== receipt.tenantId) throw unknownReceipt(receipt);
      return await reportReceipt(dependencies, receipt);
    },
  );
}
