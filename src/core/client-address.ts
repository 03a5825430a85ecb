// Client addresses as a tenant's policy keeps them.
import { isIPv4, isIPv6 } from 'node:net';

/**
 * The address with its host part zeroed: /24 for IPv4 (also when mapped into IPv6), /48 for IPv6; null for anything else.
 * Guarantees: truncating twice changes nothing.
 */
export function truncateAddress(address: string): string | null {
  const plain = address.toLowerCase().startsWith('::ffff:') ? address.slice(7) : address;
  if (isIPv4(plain)) return `${plain.slice(0, plain.lastIndexOf('.'))}.0`;
  // A zone (fe80::1%eth0) names an interface of the server's and nothing of the client's.
  const [unzoned = ''] = address.split('%');
  if (!isIPv6(unzoned)) return null;
  const [head = '', tail] = unzoned.split('::');
  const left = head === '' ? [] : head.split(':');
  const right = tail === undefined || tail === '' ? [] : tail.split(':');
  const groups =
    tail === undefined ? left : [...left, ...Array(8 - left.length - right.length).fill('0'), ...right];
  const kept = groups.slice(0, 3).map((group) => Number.parseInt(group, 16).toString(16));
  while (kept.at(-1) === '0') kept.pop();
  return `${kept.join(':')}::`;
}
