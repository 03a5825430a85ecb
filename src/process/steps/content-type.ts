// Media types, as far as Pulse must tell JSON from anything else.
import { contentTypeHeader } from '../../core/envelope.ts';

/** The media type of a record in lower case without parameters; '' when it names none. */
export function contentTypeOf(headers: Readonly<Record<string, string>>): string {
  const text = headers[contentTypeHeader] ?? headers['content-type'] ?? '';
  const semicolon = text.indexOf(';');
  return (semicolon === -1 ? text : text.slice(0, semicolon)).trim().toLowerCase();
}

/** True for one CloudEvent as JSON. */
export function isCloudEventsContentType(mediaType: string): boolean {
  return mediaType === 'application/cloudevents+json';
}

/** True for JSON under any of its names. */
export function isJsonContentType(mediaType: string): boolean {
  return mediaType === 'application/json' || mediaType === 'text/json' || mediaType.endsWith('+json');
}
