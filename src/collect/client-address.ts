// The address of a client, from the socket or from proxies that are trusted, and what a tenant's policy keeps of it.
import type { IncomingMessage } from 'node:http';
import { type BlockList, isIP } from 'node:net';
import type { ClientAddressPolicy } from '../tenancy/types.ts';

/**
 * The address that sent the request; null when it is unknown (the socket is gone).
 * `X-Forwarded-For` counts only when the socket's address is a trusted proxy: the last address in it that is none.
 */
export function clientAddress(request: IncomingMessage, proxies: BlockList | null): string | null {
  const socketAddress = unmapped(request.socket.remoteAddress ?? '');
  const forwarded = request.headers['x-forwarded-for'];
  if (proxies === null || forwarded === undefined || !isTrusted(proxies, socketAddress)) {
    return socketAddress === '' ? null : socketAddress;
  }
  const hops = String(forwarded).split(',');
  let client = socketAddress;
  for (let i = hops.length - 1; i >= 0; i--) {
    const hop = unmapped((hops[i] as string).trim());
    if (isIP(hop) === 0) break;
    client = hop;
    if (!isTrusted(proxies, hop)) break;
  }
  return client;
}

function isTrusted(proxies: BlockList, address: string): boolean {
  const version = isIP(address);
  return version !== 0 && proxies.check(address, version === 4 ? 'ipv4' : 'ipv6');
}

/** `::ffff:192.0.2.1` is what a dual-stack socket calls 192.0.2.1. */
function unmapped(address: string): string {
  return address.startsWith('::ffff:') && address.includes('.') ? address.slice(7) : address;
}

/** What the policy keeps: the whole address, the network (/24 of IPv4, /48 of IPv6), or null. */
export function keptAddress(address: string | null, policy: ClientAddressPolicy): string | null {
  if (address === null || policy === 'drop') return null;
  if (policy === 'keep') return address;
  let network = networks.get(address);
  if (network === undefined) {
    if (networks.size >= networksMax) networks.clear();
    network = networkOf(address);
    networks.set(address, network);
  }
  return network;
}

// Clients send many requests, and taking an address apart costs more than finding it here.
const networks = new Map<string, string>();
const networksMax = 4_096;

function networkOf(address: string): string {
  if (!address.includes(':')) return `${address.slice(0, address.lastIndexOf('.'))}.0`;
  return `${firstGroups(address)}::`;
}

/** The first three groups of an IPv6 address, `::` filled in. */
function firstGroups(address: string): string {
  const [head, tail] = (address.split('%')[0] as string).split('::') as [string, string | undefined];
  const left = head === '' ? [] : head.split(':');
  const right = tail === undefined || tail === '' ? [] : tail.split(':');
  const zeros = tail === undefined ? 0 : 8 - left.length - right.length;
  return [...left, ...new Array<string>(Math.max(0, zeros)).fill('0'), ...right]
    .slice(0, 3)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(':');
}
