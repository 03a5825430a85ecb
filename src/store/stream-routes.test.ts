import assert from 'node:assert/strict';
import { request } from 'node:http';
import { describe, test } from 'node:test';
import { api, headersOf } from './testing/api.ts';
import { harness, until } from './testing/harness.ts';

interface Message {
  readonly id: string | null;
  readonly event: string | null;
  readonly data: string;
}

/** A client of server-sent events that reads when told to. */
class Listener {
  readonly messages: Message[] = [];
  lastId = '';
  ended = false;
  status = 0;
  #text = '';
  readonly #response: import('node:http').IncomingMessage;

  constructor(response: import('node:http').IncomingMessage) {
    this.#response = response;
    this.status = response.statusCode ?? 0;
    response.setEncoding('utf8');
    response.on('end', () => (this.ended = true));
    response.on('close', () => (this.ended = true));
  }

  read(): this {
    this.#response.on('data', (chunk: string) => this.#take(chunk));
    return this;
  }

  close(): void {
    this.#response.destroy();
  }

  events(): string[] {
    return this.messages
      .filter((message) => message.event === null)
      .map((message) => JSON.parse(message.data).event_id as string);
  }

  #take(chunk: string): void {
    this.#text += chunk;
    const blocks = this.#text.split('\n\n');
    this.#text = blocks.pop() ?? '';
    for (const block of blocks) {
      const lines = block.split('\n');
      const field = (name: string): string[] =>
        lines.filter((line) => line.startsWith(`${name}: `)).map((line) => line.slice(name.length + 2));
      const id = field('id')[0] ?? null;
      if (id !== null) this.lastId = id;
      const data = field('data');
      if (data.length > 0)
        this.messages.push({ id, event: field('event')[0] ?? null, data: data.join('\n') });
    }
  }
}

function listen(
  url: string,
  path: string,
  as: string,
  headers: Record<string, string> = {},
): Promise<Listener> {
  return new Promise((resolve, reject) => {
    const outgoing = request(
      `${url}/v1/events/stream${path}`,
      { headers: { ...headersOf(as), ...headers } },
      (response) => resolve(new Listener(response)),
    );
    outgoing.on('error', reject);
    outgoing.end();
  });
}

async function connected(listener: Listener): Promise<Listener> {
  listener.read();
  await until(() => listener.lastId !== '');
  return listener;
}

describe('GET /v1/events/stream', () => {
  test('shows each tenant its own events as they come, filtered by type', async (t) => {
    const h = await harness(t);
    const { url } = await api(t, h);
    await h.give([{ eventId: 'before' }]);
    const acme = await connected(await listen(url, '', 'acme'));
    const globex = await connected(await listen(url, '', 'globex'));
    const pushes = await connected(await listen(url, '?event_type=push,pull', 'acme'));
    const admin = await connected(await listen(url, '', 'admin'));
    await h.give([
      { eventId: 'a', eventType: 'push' },
      { eventId: 'b', tenantId: 'globex', eventType: 'push' },
      { eventId: 'c', partition: 1, eventType: 'other' },
    ]);
    await until(
      () => admin.events().length === 3 && acme.events().length === 2 && globex.events().length === 1,
    );
    assert.deepEqual(acme.events().sort(), ['a', 'c']);
    assert.deepEqual(globex.events(), ['b']);
    assert.deepEqual(pushes.events(), ['a']);
    for (const listener of [acme, globex, pushes, admin]) listener.close();
  });

  test('goes on exactly where a client was cut off', async (t) => {
    const h = await harness(t);
    const { url } = await api(t, h);
    const first = await connected(await listen(url, '', 'acme'));
    await h.give([{ eventId: 'a' }, { eventId: 'b', partition: 1 }, { eventId: 'c' }]);
    await until(() => first.events().length === 3);
    // Cut off in the middle: the id of the second message of three.
    const id = first.messages[1]?.id ?? '';
    const missed = first.events().slice(2);
    first.close();
    await h.give([{ eventId: 'd' }, { eventId: 'e', partition: 1 }]);
    const second = await connected(await listen(url, '', 'acme', { 'last-event-id': id }));
    await h.give([{ eventId: 'f', partition: 1 }]);
    await until(() => second.events().length === 4);
    assert.deepEqual(second.events().sort(), [...missed, 'd', 'e', 'f'].sort());
    second.close();
    const other = await connected(await listen(url, `?last_event_id=${encodeURIComponent(id)}`, 'globex'));
    await new Promise((resolve) => setTimeout(resolve, 300));
    assert.deepEqual(other.events(), []);
    other.close();
  });

  test('keeps events whole whose bytes hold line breaks', async (t) => {
    const h = await harness(t);
    const { url } = await api(t, h);
    const listener = await connected(await listen(url, '', 'acme'));
    await h.give([{ eventId: 'a', dataText: '{\n  "n": 9007199254740993,\r\n\r\n  "m": 1\r}' }]);
    await until(() => listener.messages.length === 1);
    assert.deepEqual(listener.events(), ['a']);
    assert.match(listener.messages[0]?.data ?? '', /9007199254740993/);
    listener.close();
  });

  test('drops for a slow client, tells it how many, and holds nobody else back', async (t) => {
    const h = await harness(t, { partitions: 1 });
    const { url } = await api(t, h, { PULSE_STORE_STREAM_BUFFER_BYTES: '1048576' });
    const quick = await connected(await listen(url, '', 'acme'));
    const slow = await listen(url, '', 'acme');
    const large = `{"text":"${'x'.repeat(250_000)}"}`;
    const total = 100;
    for (let i = 0; i < total; i += 4) {
      await h.give(Array.from({ length: 4 }, () => ({ dataText: large })));
      await until(() => quick.events().length === i + 4);
    }
    slow.read();
    const dropped = (): number =>
      slow.messages
        .filter((message) => message.event === 'dropped')
        .reduce((sum, message) => sum + (JSON.parse(message.data) as { events: number }).events, 0);
    await until(() => dropped() > 0 && dropped() + slow.events().length === total);
    assert.ok(dropped() > total / 3, `${dropped()} dropped`);
    quick.close();
    slow.close();
  });

  test('has a bounded number of places', async (t) => {
    const h = await harness(t);
    const { url, get } = await api(t, h, { PULSE_STORE_STREAM_CLIENTS: '1' });
    const listener = await connected(await listen(url, '', 'acme'));
    const refused = await get('/v1/events/stream');
    assert.deepEqual([refused.status, refused.body.code], [503, 'PULSE_STORE_STREAM_FULL']);
    listener.close();
    let next: Listener | undefined;
    await until(async () => {
      next = await listen(url, '', 'acme');
      if (next.status !== 200) next.close();
      return next.status === 200;
    });
    next?.close();
  });

  test('ends when the key is revoked', async (t) => {
    const h = await harness(t);
    const { url } = await api(t, h);
    const listener = await connected(await listen(url, '', 'globex'));
    h.directory.remove('globex');
    await until(() => listener.ended, 6_000);
  });
});
